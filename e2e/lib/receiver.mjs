// A destination on loopback: records every request and answers as the test says.
import http from 'node:http';
import { setTimeout as pause } from 'node:timers/promises';
import { eventually } from './wait.mjs';

export class Receiver {
  /** Every request so far, in order: `{path, method, headers, text}`. */
  requests = [];
  #answers = new Map();
  #server;

  /** Starts a receiver that lasts as long as the test `t`. */
  static async start(t) {
    const receiver = new Receiver();
    receiver.#server = http.createServer({ keepAliveTimeout: 30_000 }, (req, res) => receiver.#handle(req, res));
    receiver.#server.on('clientError', (_error, socket) => socket.destroy());
    await new Promise((resolve, reject) => {
      receiver.#server.once('error', reject);
      receiver.#server.listen(0, '127.0.0.1', resolve);
    });
    receiver.port = receiver.#server.address().port;
    t.after(() => receiver.stop());
    return receiver;
  }

  url(path) { return `http://127.0.0.1:${this.port}${path}`; }

  /**
   * Says how `path` answers, and gives its address. `answer` is `{status, headers, body, delay}`, 'hang', 'reset', or
   * a function `(request, nth)` that gives one; nth counts from 1. Without a rule a path answers 200.
   */
  on(path, answer) {
    this.#answers.set(path, { answer, hits: 0 });
    return this.url(path);
  }

  at(path) { return this.requests.filter((request) => request.path === path); }

  /** Waits until `path` has got `count` requests, and gives them. */
  waitFor(path, count = 1, within = 10_000) {
    return eventually(() => {
      const got = this.at(path);
      if (got.length < count) throw new Error(`${path} got ${got.length} of ${count} requests in ${within} ms`);
      return got;
    }, { within, every: 20 });
  }

  async #handle(req, res) {
    const chunks = [];
    try {
      for await (const chunk of req) chunks.push(chunk);
    } catch {
      return; // the sender went away in the middle of its request: it was never received
    }
    const { pathname } = new URL(req.url, 'http://receiver');
    const request = { path: pathname, method: req.method, headers: req.headers, text: Buffer.concat(chunks).toString('utf8') };
    this.requests.push(request);
    const rule = this.#answers.get(pathname);
    let answer = rule?.answer ?? {};
    if (rule) rule.hits += 1;
    if (typeof answer === 'function') answer = answer(request, rule.hits) ?? {};
    if (answer === 'hang') return;
    if (answer === 'reset') return void req.socket.destroy();
    if (answer.delay) await pause(answer.delay);
    if (res.destroyed) return;
    const body = Buffer.from(answer.body ?? '');
    res.writeHead(answer.status ?? 200, { 'content-length': body.length, ...answer.headers });
    res.end(body);
  }

  async stop() {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}
