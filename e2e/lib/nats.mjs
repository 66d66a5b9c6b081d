// nats-server, and as much of a client as reads back what it got: the protocol is lines of text.
import { createHash, createPrivateKey, sign } from 'node:crypto';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import net from 'node:net';
import path from 'node:path';
import { Daemon, certificate, folder, program } from './daemon.mjs';
import { freePort } from './server.mjs';

const SERVER = program('nats-server');
export const skip = SERVER ? false : 'nats-server is not installed (make setup)';

export const USER = { username: 'tributary', password: 'the-password-of-nats' };
/** The pair of keys in the documentation of NATS. */
export const NKEY = {
  seed: 'SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY',
  public: 'UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4',
};

export class Nats {
  /**
   * A server that stores streams, with a user by password and one by key; or one with these `lines` instead. With `tls`
   * clients must show the certificate `pem`, which is its own too.
   */
  static async start(t, { lines, tls = false } = {}) {
    const nats = new Nats();
    const dir = await folder(t, 'nats');
    nats.port = await freePort();
    nats.url = `nats://127.0.0.1:${nats.port}`;
    const usual = `jetstream { store_dir: "${dir}" }\nauthorization { users: [ { user: "${USER.username}", password: "${USER.password}" }, { nkey: ${NKEY.public} } ] }`;
    let secure = '';
    if (tls) {
      const { cert, key, pem } = certificate(dir);
      Object.assign(nats, { pem, secure: `tls://127.0.0.1:${nats.port}` });
      secure = `tls { cert_file: "${cert}", key_file: "${key}", ca_file: "${cert}", verify: true }`;
    }
    const file = path.join(dir, 'nats.conf');
    await writeFile(file, `listen: "127.0.0.1:${nats.port}"\n${lines ?? usual}\n${secure}\n`);
    nats.daemon = await Daemon.start(t, SERVER, ['-c', file], { port: nats.port, dir });
    return nats;
  }

  /** A connection that lasts as long as the test. */
  async client(t, login = { user: USER.username, pass: USER.password }) {
    const client = new Client();
    await client.open(this.port, login);
    t.after(() => client.socket.destroy());
    return client;
  }
}

class Client {
  #input = Buffer.alloc(0);
  #heard = new Map();
  #next = 0;
  #ponged = [];

  async open(port, login) {
    this.socket = net.connect(port, '127.0.0.1');
    await once(this.socket, 'connect');
    this.socket.on('data', (bytes) => this.#read(bytes));
    this.socket.on('error', () => {});
    this.socket.write(`CONNECT ${JSON.stringify({ verbose: false, headers: true, ...login })}\r\n`);
    await this.flush();
  }

  /** Waits until the server has read what was said so far. */
  flush() {
    return new Promise((resolve) => {
      this.#ponged.push(resolve);
      this.socket.write('PING\r\n');
    });
  }

  /** Calls `hear({subject, payload})` for each message of the subject. */
  async subscribe(subject, hear) {
    this.#next += 1;
    this.#heard.set(`${this.#next}`, hear);
    this.socket.write(`SUB ${subject} ${this.#next}\r\n`);
    await this.flush();
  }

  /** Asks the server's interface for streams, and gives its answer. */
  async ask(subject, question) {
    const inbox = `_INBOX.test.${this.#next}`;
    const answered = new Promise((resolve) => { void this.subscribe(inbox, resolve); });
    const body = JSON.stringify(question);
    this.socket.write(`PUB $JS.API.${subject} ${inbox} ${Buffer.byteLength(body)}\r\n${body}\r\n`);
    const answer = JSON.parse((await answered).payload);
    if (answer.error) throw new Error(`${subject}: ${JSON.stringify(answer.error)}`);
    return answer;
  }

  /** All messages of a stream, a list that grows. */
  async stored(stream) {
    const messages = [];
    const subject = `out.${stream}.${this.#next}`;
    await this.subscribe(subject, (message) => messages.push(message));
    const config = { deliver_subject: subject, ack_policy: 'none', deliver_policy: 'all' };
    await this.ask(`CONSUMER.CREATE.${stream}`, { stream_name: stream, config });
    return messages;
  }

  #read(bytes) {
    this.#input = Buffer.concat([this.#input, bytes]);
    for (;;) {
      const end = this.#input.indexOf('\r\n');
      if (end < 0) return;
      const [verb, ...words] = this.#input.subarray(0, end).toString().split(' ');
      let rest = end + 2;
      if (verb === 'MSG' || verb === 'HMSG') {
        const total = Number(words.at(-1));
        if (this.#input.length < rest + total + 2) return;
        const head = verb === 'HMSG' ? Number(words.at(-2)) : 0;
        const payload = this.#input.subarray(rest + head, rest + total).toString();
        const headers = this.#input.subarray(rest, rest + head).toString();
        rest += total + 2;
        this.#heard.get(words[1])?.({ subject: words[0], headers, payload });
      } else if (verb === 'PING') this.socket.write('PONG\r\n');
      else if (verb === 'PONG') this.#ponged.shift()?.();
      this.#input = this.#input.subarray(rest);
    }
  }
}

const LETTERS = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567';

/** Base32 with the check sum that keys of NATS have. */
function spelled(bytes) {
  let sum = 0;
  for (const byte of bytes) {
    sum ^= byte << 8;
    for (let bit = 0; bit < 8; bit += 1) sum = (sum & 0x8000 ? (sum << 1) ^ 0x1021 : sum << 1) & 0xffff;
  }
  const bits = [...bytes, sum & 0xff, sum >> 8].map((byte) => byte.toString(2).padStart(8, '0')).join('');
  return bits.match(/.{1,5}/g).map((five) => LETTERS[Number.parseInt(five.padEnd(5, '0'), 2)]).join('');
}

/** A pair of keys of an operator (`O`), an account (`A`) or a user (`U`), made of a text. */
function keys(letter, text) {
  const kind = LETTERS.indexOf(letter) << 3;
  const seed = createHash('sha256').update(text).digest();
  const der = Buffer.concat([Buffer.from('302e020100300506032b657004220420', 'hex'), seed]);
  const pair = createPrivateKey({ key: der, format: 'der', type: 'pkcs8' });
  const raw = Buffer.from(pair.export({ format: 'jwk' }).x, 'base64url');
  return {
    pair,
    public: spelled(Buffer.concat([Buffer.from([kind]), raw])),
    seed: spelled(Buffer.concat([Buffer.from([(18 << 3) | (kind >> 5), (kind & 31) << 3]), seed])),
  };
}

/** A token of NATS about `subject`, signed by `issuer`. */
function token(type, subject, issuer, more = {}) {
  const claims = { jti: type, iat: Math.floor(Date.now() / 1000), iss: issuer.public, name: type, sub: subject.public, nats: { type, version: 2, ...more } };
  const part = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const text = `${part({ typ: 'JWT', alg: 'ed25519-nkey' })}.${part(claims)}`;
  return `${text}.${sign(null, Buffer.from(text), issuer.pair).toString('base64url')}`;
}

/** The configuration of a server that knows users by tokens alone, and a file of credentials for one. */
export function byTokens() {
  const [operator, account, user] = [keys('O', 'operator'), keys('A', 'account'), keys('U', 'user')];
  const limits = { subs: -1, data: -1, payload: -1, conn: -1, leaf: -1, imports: -1, exports: -1, wildcards: true };
  const config = [
    `operator: ${token('operator', operator, operator)}`, 'resolver: MEMORY',
    `resolver_preload: { ${account.public}: ${token('account', account, operator, { limits })} }`,
  ];
  const jwt = token('user', user, account, { subs: -1, data: -1, payload: -1 });
  const block = (name, text) => `-----BEGIN ${name}-----\n${text}\n------END ${name}------\n`;
  return { config: config.join('\n'), jwt, seed: user.seed, creds: `${block('NATS USER JWT', jwt)}\n${block('USER NKEY SEED', user.seed)}` };
}
