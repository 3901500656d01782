// Drives socket.io-client 2, 3 and 4 in Node.
import { createRequire } from "node:module";
import { report, serve } from "./lines.mjs";
import { openSocket, socketCommands } from "./socket.mjs";

const PACKAGES = { 2: "socket.io-client-v2", 3: "socket.io-client-v3", 4: "socket.io-client" };
// The CommonJS builds, because version 2 has no other; these are what `require` gives anyone.
const require = createRequire(import.meta.url);
const sockets = new Map();

report("ready", { client: "socket.io-client" });
await serve({
  connect({ version = 4, ...command }) {
    const exported = require(PACKAGES[version]);
    sockets.set(command.id, openSocket(exported.io ?? exported, command, report));
  },
  ...socketCommands(sockets, report),
});
// Sockets that still try to reconnect would keep the process.
process.exit(0);
