// The frame around every page, and which page it is.

import { effect, signal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { AccountPage, signOut } from "./account";
import { AdminPage, mayAdminister, roomOf } from "./admin";
import { ClipPage } from "./clip";
import { GalleryPage } from "./gallery";
import { MakePage } from "./make";
import { Icon, Link, Select, Toasts } from "./parts";
import { path, videoOf } from "./route";
import { SignInPage } from "./signin";
import { isUnfinished, offline, phase, session, start, videos } from "./state";
import { StoryboardPage } from "./storyboard";
import { language, languages, words, type Language } from "./strings";

type Theme = "auto" | "light" | "dark";
const theme = signal<Theme>((localStorage.getItem("theme") as Theme | null) ?? "auto");

effect(() => {
  document.documentElement.dataset["theme"] = theme.value;
  localStorage.setItem("theme", theme.value);
});
effect(() => {
  document.documentElement.lang = language.value;
});

export function App() {
  const t = words();
  const known = phase.value === "ready";
  const growing = known ? videos.value.filter(isUnfinished).length : 0;
  const title = titleOf(path.value);
  useEffect(() => {
    document.title = `${growing ? `(${growing}) ` : ""}${title} · Hibari`;
  }, [title, growing]);
  return (
    <>
      <a class="skip" href="#content">
        {t.skip}
      </a>
      <header>
        <Link to="/" class="mark">
          Hibari
        </Link>
        {known && <Nav />}
        <Settings />
      </header>
      {offline.value && (
        <p class="offline" role="status">
          <Icon name="warning" />
          {t.state.offline}
        </p>
      )}
      <main id="content" tabIndex={-1}>
        <Content />
      </main>
      <Toasts />
    </>
  );
}

function titleOf(address: string): string {
  const t = words();
  if (phase.value === "signed-out") return t.signIn.title;
  if (address === "/gallery") return t.gallery.title;
  if (address === "/storyboard") return t.storyboard.title;
  if (address === "/account") return t.people.account;
  if (roomOf(address) !== null) return t.people.admin;
  return videoOf(address) === null ? t.make.title : t.clip.title;
}

function Content() {
  const t = words();
  switch (phase.value) {
    case "loading":
      return (
        <p class="empty" role="status">
          {t.state.loading}
        </p>
      );
    case "failed":
      return (
        <p class="empty" role="alert">
          {t.state.failed}{" "}
          <button type="button" class="quiet" onClick={() => void start()}>
            {t.state.retry}
          </button>
        </p>
      );
    case "signed-out":
      return <SignInPage />;
    case "ready":
      return <Page address={path.value} />;
  }
}

function Page({ address }: { address: string }) {
  const t = words();
  const video = videoOf(address);
  if (video !== null) return <ClipPage id={video} />;
  const room = roomOf(address);
  if (room !== null) return <AdminPage key={room} room={room} />;
  switch (address) {
    case "/":
      return <MakePage />;
    case "/gallery":
      return <GalleryPage />;
    case "/storyboard":
      return <StoryboardPage />;
    case "/account":
      return <AccountPage />;
    case "/sign-in":
      return session.value?.key === null ? <MakePage /> : <SignInPage />;
    default:
      return (
        <div class="empty">
          <h1>{t.state.noPage}</h1>
          <Link to="/">{t.state.home}</Link>
        </div>
      );
  }
}

function Nav() {
  const t = words().nav;
  const pages = [
    ["/", "make", t.make],
    ["/gallery", "gallery", t.gallery],
    ["/storyboard", "storyboard", t.storyboard],
  ] as const;
  return (
    <nav aria-label={t.label}>
      {pages.map(([to, icon, text]) => (
        <Link key={to} to={to} aria-current={path.value === to ? "page" : undefined}>
          <Icon name={icon} />
          <span>{text}</span>
        </Link>
      ))}
    </nav>
  );
}

function Settings() {
  const t = words().settings;
  const menu = useRef<HTMLDetailsElement>(null);
  useEffect(() => {
    const close = (event: Event) => {
      if (menu.current !== null && !(event.target instanceof Node && menu.current.contains(event.target))) {
        menu.current.open = false;
      }
    };
    document.addEventListener("pointerdown", close);
    return () => document.removeEventListener("pointerdown", close);
  }, []);
  const people = words().people;
  const close = () => {
    if (menu.current !== null) menu.current.open = false;
  };
  return (
    <details
      class="settings"
      ref={menu}
      onKeyDown={(event) => {
        if (event.key !== "Escape" || menu.current === null) return;
        menu.current.open = false;
        menu.current.querySelector("summary")?.focus();
      }}
    >
      <summary aria-label={t.label} title={t.label}>
        <Icon name="settings" />
      </summary>
      <div class="menu">
        <Select
          label={t.theme}
          value={theme.value}
          options={(["auto", "light", "dark"] as const).map((one) => [one, t.themes[one]] as const)}
          onChange={(value) => {
            theme.value = value;
          }}
        />
        <Select
          label={t.language}
          value={language.value}
          options={(Object.keys(languages) as Language[]).map((one) => [one, languages[one].language] as const)}
          onChange={(value) => {
            language.value = value;
            localStorage.setItem("language", value);
          }}
        />
        {phase.value === "ready" && session.value !== null && (
          <div class="account">
            {session.value.key !== null && <span>{t.signedInAs(session.value.account.name)}</span>}
            <Link to="/account" onClickCapture={close}>
              {people.account}
            </Link>
            {mayAdminister() && (
              <Link to="/admin" onClickCapture={close}>
                {people.admin}
              </Link>
            )}
            {session.value.key !== null && (
              <button type="button" class="quiet" onClick={() => void signOut()}>
                {t.signOut}
              </button>
            )}
          </div>
        )}
      </div>
    </details>
  );
}
