import { defineConfig } from "vite";

// The built files are a part of the Python package: the same source must give the same bytes.
export default defineConfig({
  build: {
    outDir: "../src/hibari/studio/built",
    emptyOutDir: true,
    target: "es2022",
    cssTarget: "chrome123",
    assetsInlineLimit: 0,
    modulePreload: false,
  },
  esbuild: { jsx: "automatic", jsxImportSource: "preact" },
  server: { proxy: { "/v1": "http://127.0.0.1:8000" } },
});
