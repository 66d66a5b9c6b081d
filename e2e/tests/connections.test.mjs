// Callers that are slow, silent or many, readers that do not read, proxies, and pages of other origins. Contract sections 3.2, 4.3 and 5.
import assert from 'node:assert/strict';
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import net from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import test from 'node:test';
import { request } from '../lib/api.mjs';
import { Receiver } from '../lib/receiver.mjs';
import { LOOPBACK, Server, binary } from '../lib/server.mjs';
import { pending } from '../lib/tally.mjs';
import { eventually } from '../lib/wait.mjs';
import { newOrg, newProduct, newUser, shareWebhook, threeProducts } from '../lib/world.mjs';

/** Times that a test can wait for. */
const QUICK = {
  ...LOOPBACK,
  TRIBUTARY_SERVER__HEAD_TIMEOUT: '500ms',
  TRIBUTARY_SERVER__BODY_TIMEOUT: '500ms',
  TRIBUTARY_SERVER__WRITE_TIMEOUT: '1s',
};
/** Under the limit of open files of most systems. */
const FILES = 256;
const FLOOD = 600;

/** A connection that has sent `text`; `ended` is a promise of all that came back. */
function raw(t, server, text) {
  const socket = net.connect(server.port, '127.0.0.1');
  t.after(() => socket.destroy());
  socket.write(text);
  const ended = () => new Promise((resolve) => {
    const parts = [];
    socket.on('data', (part) => parts.push(part));
    socket.on('error', () => {});
    socket.on('close', () => resolve(Buffer.concat(parts).toString()));
  });
  return { socket, ended };
}

async function within(ms, promise, label) {
  let timer;
  const late = new Promise((_, reject) => { timer = setTimeout(() => reject(new Error(`${label}: not within ${ms} ms`)), ms); });
  try { return await Promise.race([promise, late]); } finally { clearTimeout(timer); }
}

async function figure(server, name) {
  const { text } = await request(server.base, 'GET', '/metrics');
  return Number(text.match(new RegExp(`^${name} (\\d+)$`, 'm'))?.[1]);
}

test('a head or a body that does not come to its end does not hold a connection', { timeout: 60_000 }, async (t) => {
  const server = await Server.start(t, QUICK);
  const user = await newUser(server.base);
  const head = raw(t, server, 'GET / HTTP/1.1\r\nHost: x\r\nX: ').ended();
  const silent = raw(t, server, '').ended();
  const length = 'Content-Length: 900000\r\n';
  const body = raw(t, server, `POST /v1/devices/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${user.token}\r\nContent-Type: application/json\r\n${length}\r\n{"name":`).ended();
  const form = raw(t, server, `POST /oauth/token HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\n${length}\r\na=`).ended();
  assert.equal(await within(5_000, head, 'head'), '');
  assert.equal(await within(5_000, silent, 'silent'), '');
  for (const [label, answer] of [['body', await within(5_000, body, 'body')], ['form', await within(5_000, form, 'form')]]) {
    assert.match(answer, /^HTTP\/1\.1 408 /, label);
    assert.match(answer, /"error":"request_timeout"/, label);
  }
  await user.api.want(200, 'GET', '/v1/user');
});

test('a stream that nobody reads is cut off, and its memory and its place are given back', { timeout: 120_000 }, async (t) => {
  const server = await Server.start(t, QUICK);
  const user = await newUser(server.base);
  const unread = [];
  for (let n = 0; n < 5; n += 1) {
    const { socket } = raw(t, server, `GET /v1/devices/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${user.token}\r\n\r\n`);
    socket.pause();
    unread.push(new Promise((resolve) => { socket.on('close', resolve); socket.on('error', () => {}); }));
  }
  await eventually(async () => assert.equal(await figure(server, 'tributary_streams'), 5));
  const data = 'x'.repeat(16_000);
  await eventually(async () => {
    await Promise.all(Array.from({ length: 50 }, () => user.api.want(200, 'POST', '/v1/devices/events', { name: 'a', data })));
    assert.equal(await figure(server, 'tributary_streams'), 0, 'all are cut off');
  }, { within: 60_000, every: 1 });
  await user.api.want(200, 'GET', '/v1/user');
  void unread;
});

/** A server that may open few files. */
async function fewFiles(t, env) {
  const dir = await mkdtemp(path.join(tmpdir(), 'tributary-few-'));
  t.after(() => rm(dir, { recursive: true, force: true }));
  const file = path.join(dir, 'tributary');
  await writeFile(file, `#!/bin/sh\nulimit -n ${FILES}\nexec '${binary()}' "$@"\n`);
  await chmod(file, 0o755);
  const before = process.env.TRIBUTARY_BIN;
  process.env.TRIBUTARY_BIN = file;
  try {
    return await Server.start(t, env);
  } finally {
    if (before === undefined) delete process.env.TRIBUTARY_BIN; else process.env.TRIBUTARY_BIN = before;
  }
}

test('more silent connections than files keep out nobody and fail no delivery', { timeout: 120_000 }, async (t) => {
  const server = await fewFiles(t, LOOPBACK);
  const receiver = await Receiver.start(t);
  const world = await threeProducts(server.base);
  const hook = await shareWebhook(world, receiver, {});
  for (let n = 0; n < FLOOD; n += 1) raw(t, server, 'GET / HTTP/1.1\r\nHost: x\r\nX: ').socket.on('error', () => {});
  const [product] = world.products;
  await eventually(async () => assert.ok((await fetch(`${server.base}/health`, { headers: { connection: 'close' } })).ok));
  for (let n = 0; n < 20; n += 1) {
    const got = await within(5_000, request(server.base, 'GET', '/health'), 'a new caller');
    assert.equal(got.status, 200);
    await world.user.api.want(200, 'POST', `${product.scope}/events`, { name: hook.event, data: `${n}` });
  }
  await receiver.waitFor(hook.path, 20, 20_000);
  await eventually(async () => {
    assert.equal(await pending(world.user.api), 0);
    const { total } = await world.user.api.history(world.org.scope, hook.id);
    assert.deepEqual(total, { success: 20, error: 0, skipped: 0 });
  }, { within: 20_000 });
});

test('a declared proxy tells who calls and how, and nobody else does', { timeout: 60_000 }, async (t) => {
  const told = { 'x-forwarded-for': '198.51.100.7', 'x-forwarded-proto': 'https', 'x-forwarded-host': 'fleet.example' };
  const hook = { event: 'e', url: 'http://127.0.0.1:9/' };
  const address = async (env) => {
    const server = await Server.start(t, { ...LOOPBACK, ...env });
    const user = await newUser(server.base);
    const made = await user.api.req('POST', '/v1/integrations', { json: hook, headers: told });
    assert.equal(made.status, 201, made.text);
    return [server, made.body.hookUrl];
  };
  const [open, url] = await address({});
  assert.ok(url.startsWith(`${open.base}/v1/integrations/`), url);
  assert.equal((await request(open.base, 'GET', '/metrics', { headers: told })).status, 403, 'nobody knows who asks');
  assert.equal((await request(open.base, 'GET', '/metrics')).status, 200);
  const [behind, believed] = await address({ TRIBUTARY_SERVER__TRUSTED_PROXIES: '127.0.0.1/32' });
  assert.ok(believed.startsWith('https://fleet.example/v1/integrations/'), believed);
  const [, fixed] = await address({ TRIBUTARY_SERVER__PUBLIC_URL: 'https://fixed.example/t/' });
  assert.ok(fixed.startsWith('https://fixed.example/t/v1/integrations/'), fixed);

  // A hundred failures of one caller are no other's.
  const signIn = (username, password, from) => request(behind.base, 'POST', '/oauth/token', {
    form: { grant_type: 'password', client_id: 'particle', client_secret: 'particle', username, password },
    headers: { 'x-forwarded-for': from },
  });
  for (let n = 0; n < 100; n += 1) assert.equal((await signIn(`nobody-${n}@example.com`, 'wrong', '203.0.113.5')).status, 400);
  assert.equal((await signIn('nobody-x@example.com', 'wrong', '203.0.113.5')).status, 429);
  const right = await newUser(behind.base);
  assert.equal((await signIn(right.username, right.password, '203.0.113.6')).status, 200);
  assert.equal((await signIn(right.username, right.password, '203.0.113.5')).status, 200, 'nor are they of who has not failed');
});

test('pages of other origins may use the API and not the console', { timeout: 60_000 }, async (t) => {
  const server = await Server.start(t);
  const user = await newUser(server.base);
  const product = await newProduct(user, await newOrg(user));
  const origin = { origin: 'https://dash.example' };
  for (const [method, url, asked] of [
    ['POST', `${product.scope}/events`, 'authorization,content-type'],
    ['PUT', '/v1/integrations/x', 'authorization,x-particle-tool,x-particle-project'],
    ['POST', '/oauth/token', 'authorization'],
    ['GET', `${product.scope}/events/temp`, 'authorization,cache-control'],
  ]) {
    const headers = { ...origin, 'access-control-request-method': method, 'access-control-request-headers': asked };
    const got = await request(server.base, 'OPTIONS', url, { headers });
    assert.equal(got.status, 204, url);
    assert.equal(got.headers['access-control-allow-origin'], '*');
    assert.ok(got.headers['access-control-allow-methods'].includes(method), url);
    assert.equal(got.headers['access-control-allow-headers'], asked);
  }
  for (const [url, token, status] of [['/v1/devices', user.token, 200], ['/v1/devices', 'wrong', 401], ['/v1/products/0', user.token, 404], ['/v1/events', user.token, 400]]) {
    const got = await request(server.base, 'GET', url, { token, headers: origin });
    assert.equal(got.status, status, url);
    assert.equal(got.headers['access-control-allow-origin'], '*', url);
    assert.equal(got.headers['access-control-allow-credentials'], undefined, url);
  }
  const bare = await user.api.req('GET', '/v1/events');
  assert.equal(bare.body.error_description, 'event prefix filter is required');
  const stream = raw(t, server, `GET /v1/events/x?access_token=${user.token} HTTP/1.1\r\nHost: x\r\nOrigin: https://dash.example\r\n\r\n`);
  const [head] = await within(5_000, new Promise((resolve) => { stream.socket.once('data', (part) => resolve([part.toString()])); }), 'a stream');
  assert.match(head, /access-control-allow-origin: \*/i);
  for (const url of ['/sign-in', '/nowhere']) {
    const got = await request(server.base, 'GET', url, { headers: origin });
    assert.equal(got.headers['access-control-allow-origin'], undefined, url);
    assert.match(got.headers['content-security-policy'], /frame-ancestors 'none'/, url);
  }
});
