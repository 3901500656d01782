// The line protocol that every driver speaks: a JSON object per line, commands in, reports out.
// README.md beside this file lists them.
import { createInterface } from "node:readline";

export function report(on, fields) {
  process.stdout.write(JSON.stringify({ on, ...fields }) + "\n");
}

/** Runs the handler that `do` names for each command, in order; resolves when stdin ends. */
export async function serve(handlers) {
  for await (const line of createInterface({ input: process.stdin })) {
    const { do: name, ...command } = JSON.parse(line);
    try {
      if (!handlers[name]) throw new Error(`no such command: ${name}`);
      await handlers[name](command);
    } catch (error) {
      report("driver_error", { id: command.id, message: `${name}: ${error.message}` });
    }
  }
}
