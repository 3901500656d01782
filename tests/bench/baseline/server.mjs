// A push gateway as teams write it in Node: Express for the backend's calls, Socket.IO for the clients,
// Redis for the active session. It does what sockd does on one node, and no more.
import { createServer } from "node:http";
import express from "express";
import jwt from "jsonwebtoken";
import { createClient } from "redis";
import { Server } from "socket.io";

const { PORT, JWT_SECRET, INTERNAL_SECRET, REDIS_PORT } = process.env;
const WEEK = 604_800;

const redis = createClient({ url: `redis://127.0.0.1:${REDIS_PORT}` });
await redis.connect();

const app = express();
const server = createServer(app);
const io = new Server(server, { serveClient: false, perMessageDeflate: false });

io.use(async (socket, next) => {
  try {
    const claims = jwt.verify(socket.handshake.auth.token, JWT_SECRET, { algorithms: ["HS256"] });
    const key = `socket:active_session:${claims.user_id}`;
    const value = JSON.stringify(claims.session_id);
    const adopted = await redis.set(key, value, { condition: "NX", expiration: { type: "EX", value: WEEK } });
    if (!adopted && (await redis.get(key)) !== value) return next(new Error("SESSION_MISMATCH"));
    if (!adopted) await redis.expire(key, WEEK);
    socket.data.session = claims.session_id;
    socket.join(`user:${claims.user_id}`);
    next();
  } catch {
    next(new Error("TOKEN_INVALID"));
  }
});

app.use("/internal", (request, response, next) => {
  if (request.get("authorization") === `Bearer ${INTERNAL_SECRET}`) return next();
  response.status(401).json({ ok: false, error: "UNAUTHORIZED" });
});
app.use(express.json({ limit: "1mb" }));
app.post("/internal/emit", (request, response) => {
  const { userId, event, payload } = request.body;
  io.to(`user:${userId}`).emit(event, payload ?? null);
  response.json({ ok: true });
});

server.listen(Number(PORT), "127.0.0.1", () => console.error(`listening address=127.0.0.1:${server.address().port} `));
process.on("SIGTERM", () => process.exit(0));
