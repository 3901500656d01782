// Watches one stock socket.io-client socket. Runs in Node and, as it is, in a browser's page.

/**
 * Opens a socket with the stock client's own options and reports all that happens to it.
 * `again` is the client's word on whether it will come back by itself.
 */
export function openSocket(io, { id, url, options }, report) {
  const socket = io(url, { ...options, forceNew: true });
  const manager = socket.io;
  const tell = (on, fields) => report(on, { id, ...fields });
  function refused(error) {
    // The HTTP answer, where the client got one instead of a connection; its body from version 4 on.
    const status = error.description > 0 ? error.description : undefined;
    const body = status && error.context?.responseText;
    tell("connect_error", { message: error.message ?? error, status, body, again: socket.active });
  }

  socket.on("connect", () => tell("connect", { transport: manager.engine.transport.name }));
  socket.on("connect_error", refused);
  socket.on("disconnect", (reason) => tell("disconnect", { reason, again: socket.active }));

  const event = (name, ...args) => tell("event", { name, args: JSON.stringify(args) });
  if (socket.onAny) {
    socket.onAny(event);
  } else {
    // Version 2 has no listener for all events, and calls a refusal by the server "error".
    socket.onevent = ({ data }) => event(...data);
    socket.on("error", refused);
  }

  manager.on("open", () => {
    manager.engine.on("upgrade", ({ name }) => tell("upgrade", { transport: name }));
  });
  manager.on("reconnect_attempt", (attempt) => tell("reconnect_attempt", { attempt }));
  manager.on("reconnect", (attempt) => tell("reconnect", { attempt }));
  return socket;
}

/** The commands on sockets, for whoever has the `io` function of the version that is asked for. */
export function socketCommands(sockets, report) {
  function find(id) {
    if (!sockets.has(id)) throw new Error(`no socket ${id}`);
    return sockets.get(id);
  }
  return {
    emit({ id, event, args = [] }) {
      find(id).emit(event, ...args);
    },
    // CONNECT once more, with another token if one is given: what an application does after a refusal.
    connect_again({ id, auth }) {
      const socket = find(id);
      if (auth) socket.auth = auth;
      socket.connect();
    },
    disconnect({ id }) {
      find(id).disconnect();
      report("disconnected", { id });
    },
  };
}
