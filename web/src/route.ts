// Where one is, as the address says it: reloading and going back work. `studio/page.py` serves the same addresses.

import { signal } from "@preact/signals";

export const path = signal(location.pathname);

addEventListener("popstate", () => {
  path.value = location.pathname;
});

export function go(to: string): void {
  if (to === path.value) return;
  history.pushState(null, "", to);
  path.value = to;
  scrollTo(0, 0);
  // What is new is read out, and Tab goes on from there.
  requestAnimationFrame(() => {
    const active = document.activeElement;
    if (active === null || active === document.body || !active.hasAttribute("data-wants-focus")) {
      document.querySelector<HTMLElement>("main")?.focus({ preventScroll: true });
    }
  });
}

export const videoPath = (id: string) => `/videos/${id}`;

export function videoOf(address: string): string | null {
  return /^\/videos\/(video_[0-9a-f]+)$/.exec(address)?.[1] ?? null;
}
