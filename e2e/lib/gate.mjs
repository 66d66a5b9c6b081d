// A way to a peer that a test can close: the peer itself keeps what it has, but cannot be reached.
import { once } from 'node:events';
import net from 'node:net';

export class Gate {
  #server = null;
  #open = new Set();

  /** Passes connections on to this port of loopback until the test ends. */
  static async start(t, to) {
    const gate = new Gate();
    gate.to = to;
    await gate.open();
    t.after(() => gate.close());
    return gate;
  }

  async open() {
    this.#server = net.createServer((incoming) => {
      const outgoing = net.connect(this.to, '127.0.0.1');
      const pair = [incoming, outgoing];
      const end = () => pair.forEach((socket) => this.#open.delete(socket) && socket.destroy());
      for (const socket of pair) {
        this.#open.add(socket);
        socket.on('error', end).on('close', end);
      }
      incoming.pipe(outgoing).pipe(incoming);
    });
    this.#server.listen(this.port ?? 0, '127.0.0.1');
    await once(this.#server, 'listening');
    this.port = this.#server.address().port;
  }

  /** Ends every connection and refuses new ones. */
  async close() {
    const server = this.#server;
    this.#server = null;
    if (!server) return;
    const closed = once(server, 'close');
    server.close();
    for (const socket of this.#open) socket.destroy();
    this.#open.clear();
    await closed;
  }
}
