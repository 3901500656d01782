// Drives Chromium: the dev page as a person uses it, and stock socket.io-client on pages whose
// origin is not the server's.
import { readFileSync, mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { chromium } from "playwright-core";
import { report, serve } from "./lines.mjs";

const EXECUTABLE = process.env.CHROMIUM ?? "/usr/bin/chromium";
// The sandbox needs rights that a container does not give; the rest keeps Chromium from calling
// home, which a closed network refuses and a test must not depend on.
const FLAGS = [
  "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
  "--disable-background-networking", "--disable-component-update", "--disable-sync",
];

const folder = (name) => dirname(createRequire(import.meta.url).resolve(`${name}/package.json`));
const FILES = {
  "/": ["text/html", Buffer.from('<!doctype html><link rel="icon" href="data:,"><script src="/socket.io.min.js"></script>')],
  "/socket.io.min.js": ["text/javascript", readFileSync(join(folder("socket.io-client"), "dist/socket.io.min.js"))],
  "/socket.mjs": ["text/javascript", readFileSync(new URL("socket.mjs", import.meta.url))],
};

/** Serves the page that connects to the server from an origin of its own. */
async function serveOrigin() {
  const server = createServer(({ url }, response) => {
    const [type, body] = FILES[url] ?? ["text/plain", "not found"];
    response.writeHead(url in FILES ? 200 : 404, { "content-type": type }).end(body);
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  return `http://127.0.0.1:${server.address().port}`;
}

// All that Chromium and playwright-core write goes here, and away at the end.
const home = mkdtempSync(join(tmpdir(), "sockd-browser-"));
Object.assign(process.env, { HOME: home, TMPDIR: home, XDG_CONFIG_HOME: home, XDG_CACHE_HOME: home });
process.on("exit", () => rmSync(home, { recursive: true, force: true, maxRetries: 5 }));

const browser = await chromium.launch({ executablePath: EXECUTABLE, args: FLAGS });
const pages = new Map();

/** Opens an empty page that may talk to these origins alone, and reports what goes wrong on it. */
async function openPage(id, ...origins) {
  const page = await browser.newPage();
  page.on("request", (request) => {
    const url = new URL(request.url());
    if (url.protocol !== "data:" && !origins.includes(url.origin)) report("request", { id, url: url.href });
  });
  page.on("pageerror", ({ message }) => report("page_error", { id, message }));
  page.on("console", (line) => {
    if (line.type() === "error") report("page_error", { id, message: line.text() });
  });
  pages.set(id, page);
  return page;
}

/** Runs in the dev page: tells what a person would see change on it. */
function watchDevPage(tell) {
  const status = document.getElementById("status");
  const events = document.getElementById("events");
  const tellState = () =>
    tell("state", { state: status.dataset.state, text: document.getElementById("state").textContent });
  new MutationObserver(tellState).observe(status, { attributeFilter: ["data-state"] });
  new MutationObserver((changes) => {
    for (const item of changes.flatMap(({ addedNodes }) => [...addedNodes])) {
      const args = [JSON.parse(item.querySelector("pre").textContent)];
      tell("event", { name: item.querySelector("strong").textContent, args: JSON.stringify(args) });
    }
  }).observe(events, { childList: true });
  tellState();
}

const inPage = (name) => ({ id, ...command }) =>
  pages.get(id).evaluate(([name, command]) => commands[name](command), [name, { id, ...command }]);

report("ready", { client: "chromium", origins: [await serveOrigin(), await serveOrigin()] });
await serve({
  async connect({ origin, ...command }) {
    const page = await openPage(command.id, origin, new URL(command.url).origin);
    await page.exposeFunction("tell", report);
    await page.goto(origin);
    await page.evaluate(async (command) => {
      const { openSocket, socketCommands } = await import("/socket.mjs");
      const socket = openSocket(io, command, tell);
      globalThis.commands = socketCommands(new Map([[command.id, socket]]), tell);
    }, command);
  },
  emit: inPage("emit"),
  connect_again: inPage("connect_again"),
  disconnect: inPage("disconnect"),
  async open({ id, url }) {
    const page = await openPage(id, new URL(url).origin);
    await page.exposeFunction("tell", (on, fields) => report(on, { id, ...fields }));
    await page.addInitScript(`addEventListener("DOMContentLoaded", () => (${watchDevPage})(tell))`);
    await page.goto(url);
    report("opened", { id });
  },
  async click({ id, button }) {
    await pages.get(id).getByRole("button", { name: button, exact: true }).click();
    report("clicked", { id });
  },
  async reload({ id }) {
    await pages.get(id).reload();
    report("opened", { id });
  },
});
await browser.close();
process.exit(0);
