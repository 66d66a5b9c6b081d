// What receivers in the field do, and what must become of the events all the same: broken replies, short keys, limits of HTTP/2, proxies.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import http2 from 'node:http2';
import https from 'node:https';
import net from 'node:net';
import test from 'node:test';
import { Receiver } from '../lib/receiver.mjs';
import { LOOPBACK, Server } from '../lib/server.mjs';
import { eventually } from '../lib/wait.mjs';
import { newUser, unique } from '../lib/world.mjs';

const pem = (name) => readFileSync(new URL(`../../crates/targets/tests/net/certs/${name}.pem`, import.meta.url), 'utf8');

async function sandbox(t, env = {}) {
  const server = await Server.start(t, { ...LOOPBACK, ...env });
  const user = await newUser(server.base);
  const publish = (name, data) => user.api.want(200, 'POST', '/v1/devices/events', { name, data });
  const create = async (config) => (await user.api.want(201, 'POST', '/v1/integrations', config)).id;
  const read = async (id) => (await user.api.want(200, 'GET', `/v1/integrations/${id}`)).integration;
  const ended = (id, count = 1) => eventually(async () => {
    const integration = await read(id);
    const { success, error, skipped } = integration.today;
    if (success + error + skipped < count) throw new Error(`ended so far: ${JSON.stringify(integration.today)}`);
    return integration;
  }, { within: 30_000, every: 50 });
  /** One event through one integration: what its row in the log says. */
  const once = async (config, data = 'x') => {
    const event = unique('e');
    const id = await create({ event, noDefaults: true, ...config });
    await publish(event, data);
    const { today, logs } = await ended(id);
    return { today, row: logs[0] };
  };
  return { server, user, publish, create, ended, once };
}

function closed(t, server) {
  t.after(() => new Promise((resolve) => {
    server.closeAllConnections?.();
    server.close(resolve);
  }));
}

/** Starts a server and gives its port. */
async function listening(t, server) {
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  closed(t, server);
  return server.address().port;
}

/** Answers every request with these bytes, as they are. */
async function raw(t, bytes, { end = false } = {}) {
  const seen = { requests: 0, sockets: new Set() };
  const server = net.createServer((socket) => {
    seen.sockets.add(socket);
    socket.on('error', () => {});
    socket.on('data', (chunk) => {
      if (!/^(GET|POST|PUT) /.test(chunk.toString('latin1'))) return;
      seen.requests += 1;
      socket.write(bytes);
      if (end) socket.end();
    });
  });
  seen.port = await listening(t, server);
  t.after(() => seen.sockets.forEach((socket) => socket.destroy()));
  return seen;
}

const SUCCESS = { success: 1, error: 0, skipped: 0 };

test('a 2xx with a broken body is one request and a success with a note', async (t) => {
  const { once } = await sandbox(t, { TRIBUTARY_DELIVERY__TIMEOUT: '2s' });
  for (const [bytes, end] of [
    ['HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nok', true],
    ['HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n', true],
    ['HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n', false],
  ]) {
    const seen = await raw(t, bytes, { end });
    const { today, row } = await once({ url: `http://127.0.0.1:${seen.port}/` });
    assert.deepEqual(today, SUCCESS);
    assert.equal(seen.requests, 1);
    assert.deepEqual([row.response.status, row.error], [200, null]);
    assert.match(row.note, /^the reply's body broke off: /);
  }
});

test('sloppy heads and many lines are read', async (t) => {
  const { once } = await sandbox(t);
  const many = Array.from({ length: 150 }, (_, n) => `Link: </${n}>\r\n`).join('');
  for (const lines of ['Server : x\r\n', 'X-Long: a\r\n b\r\n', 'garbage\r\n', 'X[a](b): 1\r\n', many]) {
    const seen = await raw(t, `HTTP/1.1 200 OK\r\nContent-Length: 2\r\n${lines}\r\nok`);
    const { today, row } = await once({ url: `http://127.0.0.1:${seen.port}/` });
    assert.deepEqual([today, seen.requests, row.response.body], [SUCCESS, 1, 'ok'], lines);
  }
});

test('short keys are taken where certificates are not checked, and version 1 for the client too', async (t) => {
  const { once } = await sandbox(t);
  for (const version of ['TLSv1.2', 'TLSv1.3']) {
    const only = { minVersion: version, maxVersion: version };
    const short = https.createServer(
      { ...only, key: pem('short.key'), cert: pem('short'), ciphers: 'DEFAULT@SECLEVEL=0' },
      (_request, response) => response.end('ok'),
    );
    const url = `https://127.0.0.1:${await listening(t, short)}/`;
    assert.deepEqual((await once({ url, rejectUnauthorized: false })).today, SUCCESS, version);
    const named = await once({ url, tls: { ca: pem('short') }, retry: { delays: [] } });
    if (named.row.error) assert.match(named.row.error, /EE_KEY_TOO_SMALL: .*2048 bits/);
    let shown;
    const asking = https.createServer(
      { ...only, key: pem('version-1.key'), cert: pem('version-1.signed'), requestCert: true, rejectUnauthorized: false },
      (request, response) => {
        shown = request.socket.getPeerCertificate().subject?.CN;
        response.end('ok');
      },
    );
    const port = await listening(t, asking);
    const tls = { ca: pem('ca'), cert: pem('version-1.signed'), key: pem('version-1.key') };
    assert.deepEqual((await once({ url: `https://localhost:${port}/`, tls })).today, SUCCESS, version);
    assert.equal(shown, 'localhost');
  }
});

test('a burst over HTTP/2 is within the limit of the server, over one connection', async (t) => {
  const { create, publish, ended } = await sandbox(t);
  let [connections, requests] = [0, 0];
  const server = http2.createSecureServer({
    key: pem('version-1.key'), cert: pem('version-1.signed'), settings: { maxConcurrentStreams: 10 },
  });
  const sessions = new Set();
  server.on('session', (session) => { connections += 1; sessions.add(session); });
  server.on('stream', (stream) => {
    requests += 1;
    stream.on('error', () => {});
    setTimeout(() => { if (!stream.destroyed) { stream.respond({ ':status': 200 }); stream.end('ok'); } }, 20);
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => { sessions.forEach((session) => session.destroy()); server.close(); });
  const event = unique('h2');
  const id = await create({ event, url: `https://127.0.0.1:${server.address().port}/`, rejectUnauthorized: false, retry: { delays: [] } });
  await Promise.all(Array.from({ length: 60 }, (_, n) => publish(event, String(n))));
  assert.deepEqual((await ended(id, 60)).today, { success: 60, error: 0, skipped: 0 });
  assert.deepEqual([connections, requests], [1, 60]);
});

test('Retry-After only makes a wait longer', async (t) => {
  const { once } = await sandbox(t);
  const receiver = await Receiver.start(t);
  const times = { soon: [], date: [] };
  const url = receiver.on('/soon', () => {
    times.soon.push(Date.now());
    return { status: 503, headers: { 'retry-after': '0' } };
  });
  const dated = receiver.on('/date', (_request, nth) => {
    times.date.push(Date.now());
    const headers = { 'retry-after': new Date(Date.now() + 4_000).toUTCString() };
    return nth === 1 ? { status: 503, headers } : { status: 200 };
  });
  const [soon, date] = await Promise.all([once({ url }), once({ url: dated })]);
  assert.deepEqual([soon.today.error, date.today.success, times.soon.length, times.date.length], [1, 1, 3, 2]);
  const [first, second, third] = times.soon;
  assert.ok(second - first >= 990 && third - second >= 1_990, `${times.soon}`);
  assert.ok(times.date[1] - times.date[0] >= 2_900, `${times.date}`);
});

test('host with port and credentials come from secrets, and never from a device', async (t) => {
  const { once, user } = await sandbox(t);
  const receiver = await Receiver.start(t);
  const place = `127.0.0.1:${receiver.port}`;
  for (const [name, value] of Object.entries({ API_HOST: `${place}\n`, SID: 'AC123', TOK: 'p@ss/w#rd' })) {
    await user.api.want(201, 'POST', '/v1/secrets', { secret: { name, value } });
  }
  assert.deepEqual((await once({ url: 'http://{{{API_HOST}}}/d' })).today, SUCCESS);
  const { row } = await once({ url: `http://{{{SID}}}:{{{TOK}}}@${place}/u`, headers: { 'X-Place': '{{{API_HOST}}}' } });
  const [request] = await receiver.waitFor('/u');
  assert.equal(request.headers.authorization, `Basic ${Buffer.from('AC123:p@ss/w#rd').toString('base64')}`);
  assert.equal(request.headers['x-place'], place);
  assert.doesNotMatch(JSON.stringify(row.request), new RegExp(`w#rd|${place}`), 'secrets are masked, trimmed or not');
  const device = await once({ url: 'http://{{{host}}}/d' }, JSON.stringify({ host: place }));
  assert.match(device.row.error, /^url: a value in the host may only have /);
});

test('deliveries go through the outbound proxy and its password is not written down', async (t) => {
  const heads = [];
  const proxy = net.createServer((socket) => {
    socket.on('error', () => {});
    socket.once('data', (chunk) => {
      heads.push(chunk.toString('latin1'));
      const place = /^CONNECT 127\.0\.0\.1:(\d+) /.exec(heads.at(-1));
      if (!place) return socket.end('HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nby proxy');
      const target = net.connect(Number(place[1]), '127.0.0.1', () => {
        socket.write('HTTP/1.1 200 OK\r\n\r\n');
        socket.pipe(target).pipe(socket);
      });
      target.on('error', () => socket.destroy());
      return undefined;
    });
  });
  const port = await listening(t, proxy);
  const { server, once } = await sandbox(t, {
    TRIBUTARY_DELIVERY__PROXY: `http://user:hunter2@127.0.0.1:${port}`,
    TRIBUTARY_DELIVERY__PROXY_EXCEPT: 'localhost',
    TRIBUTARY_LOG__LEVEL: 'debug',
  });
  const secure = https.createServer({ key: pem('version-1.key'), cert: pem('version-1.signed') }, (_q, response) => response.end('ok'));
  const tlsPort = await listening(t, secure);
  assert.equal((await once({ url: 'http://nowhere.example/a' })).row.response.body, 'by proxy');
  assert.equal((await once({ url: `https://127.0.0.1:${tlsPort}/`, rejectUnauthorized: false })).row.response.body, 'ok');
  assert.match(heads[0], /^POST http:\/\/nowhere\.example\/a HTTP\/1\.1\r\n/);
  assert.match(heads[0], /proxy-authorization: Basic dXNlcjpodW50ZXIy/i);
  assert.match(heads[1], new RegExp(`^CONNECT 127\\.0\\.0\\.1:${tlsPort} HTTP/1\\.1\\r\\n`));
  const receiver = await Receiver.start(t);
  assert.deepEqual((await once({ url: `http://localhost:${receiver.port}/` })).today, SUCCESS);
  assert.equal(heads.length, 2);
  assert.doesNotMatch(server.log(), /hunter2|dXNlcjpodW50ZXIy/);
});
