// A push gateway as teams write it in Node: Express for the backend's calls, Socket.IO for the clients,
// Redis for the active session. It does on one node what sockd does, as a stock Socket.IO server does it:
// the benchmark measures sockd against it, and the differential test compares what clients see.
import { createServer } from "node:http";
import express from "express";
import jwt from "jsonwebtoken";
import { createClient } from "redis";
import { Server } from "socket.io";

const { PORT, JWT_SECRET, INTERNAL_SECRET, REDIS_PORT } = process.env;
const WEEK = 604_800;
const EVENTS = new Set(["profile:update", "account:update", "auth:logout"]);
const USER_ID = /^[a-f0-9]{24}$/i;
const SESSION_ID = /^[0-9a-f]{8}-[0-9a-f]{4}-[1-5][0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/i;

/** A number from the environment, or what Socket.IO has by default. */
function number(name, byDefault) {
  return process.env[name] ? Number(process.env[name]) : byDefault;
}

/** The active session of each user: in Redis, or without one in memory. */
async function openSessions() {
  const key = (user) => `socket:active_session:${user}`;
  if (!REDIS_PORT) {
    const active = new Map();
    return {
      async claim(user, session) {
        if (!active.has(user)) active.set(user, session);
        return active.get(user) === session;
      },
      async replace(user, session) {
        active.set(user, session);
      },
    };
  }
  const redis = createClient({ url: `redis://127.0.0.1:${REDIS_PORT}` });
  await redis.connect();
  return {
    async claim(user, session) {
      const value = JSON.stringify(session);
      const week = { type: "EX", value: WEEK };
      if (await redis.set(key(user), value, { condition: "NX", expiration: week })) return true;
      if ((await redis.get(key(user))) !== value) return false;
      await redis.expire(key(user), WEEK);
      return true;
    },
    async replace(user, session) {
      await redis.set(key(user), JSON.stringify(session), { expiration: { type: "EX", value: WEEK } });
    },
  };
}

const sessions = await openSessions();
const app = express();
const server = createServer(app);
const io = new Server(server, {
  serveClient: false,
  perMessageDeflate: false,
  httpCompression: false,
  pingInterval: number("PING_INTERVAL", 25_000),
  pingTimeout: number("PING_TIMEOUT", 20_000),
  connectTimeout: number("CONNECT_TIMEOUT", 45_000),
});

/** The first source that is not blank; of a list its first entry. */
function findToken({ auth, headers }, url) {
  const query = new URL(url, "http://localhost").searchParams.getAll("token");
  for (const source of [auth.token, headers.authorization, query]) {
    const token = Array.isArray(source) ? source[0] : source;
    if (typeof token === "string" && token.trim()) return token.trim().replace(/^bearer\s+/i, "");
  }
  throw new Error("TOKEN_MISSING");
}

function readToken(token) {
  try {
    const { user_id, session_id } = jwt.verify(token, JWT_SECRET, { algorithms: ["HS256"] });
    const [user, session] = [user_id.trim(), session_id.trim()];
    if (USER_ID.test(user) && SESSION_ID.test(session)) return { user, session };
  } catch {}
  throw new Error("TOKEN_INVALID");
}

io.use(async (socket, next) => {
  try {
    const { user, session } = readToken(findToken(socket.handshake, socket.request.url));
    const isActive = await sessions.claim(user, session).catch(() => {
      throw new Error("AUTH_UNAVAILABLE");
    });
    if (!isActive) throw new Error("SESSION_MISMATCH");
    socket.data.session = session;
    socket.join(`user:${user}`);
    next();
  } catch (refusal) {
    next(refusal);
  }
});

function refuse(response, status, error) {
  response.status(status).json({ ok: false, error });
}

app.use("/internal", (request, response, next) => {
  if (["sec-fetch-mode", "sec-fetch-site", "sec-ch-ua"].some((name) => request.get(name))) {
    return refuse(response, 403, "FORBIDDEN");
  }
  const [, secret] = /^\s*bearer\s+(.*?)\s*$/i.exec(request.get("authorization") ?? "") ?? [];
  if (secret !== INTERNAL_SECRET) return refuse(response, 401, "UNAUTHORIZED");
  next();
});
app.use(express.json({ limit: 1_048_576 }));
// Anything but an object counts as an empty one.
app.use((request, response, next) => {
  if (!request.body || Array.isArray(request.body)) request.body = {};
  next();
});

app.post("/internal/emit", (request, response) => {
  const { userId, event, payload } = request.body;
  if (!USER_ID.test(userId)) return refuse(response, 400, "INVALID_USER_ID");
  if (!EVENTS.has(event)) return refuse(response, 400, "INVALID_EVENT");
  io.to(`user:${userId}`).emit(event, payload ?? null);
  response.json({ ok: true });
});

app.post("/internal/force-logout", async (request, response) => {
  const { userId, sessionId } = request.body;
  if (!USER_ID.test(userId)) return refuse(response, 400, "INVALID_USER_ID");
  if (!SESSION_ID.test(sessionId)) return refuse(response, 400, "INVALID_SESSION_ID");
  try {
    await sessions.replace(userId, sessionId);
  } catch {
    return refuse(response, 503, "REDIS_UNAVAILABLE");
  }
  const sockets = await io.in(`user:${userId}`).fetchSockets();
  const replaced = sockets.filter((socket) => socket.data.session !== sessionId);
  for (const socket of replaced) {
    socket.emit("auth:logout", { reason: "SESSION_REPLACED" });
    socket.disconnect(true);
  }
  response.json({ ok: true, disconnected: replaced.length });
});

server.listen(Number(PORT), "127.0.0.1", () => console.error(`listening address=127.0.0.1:${server.address().port} `));
process.on("SIGTERM", () => process.exit(0));
