// What the server leaves on the machine: files for its own user alone, one server for a folder, one key for a store.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, renameSync, statSync } from 'node:fs';
import path from 'node:path';
import test from 'node:test';
import { LOOPBACK, Server, binary } from '../lib/server.mjs';
import { newUser } from '../lib/world.mjs';

/** Starts another server that must end by itself; gives what it wrote. */
function refused(server, env = {}) {
  const args = ['serve', '--listen', '127.0.0.1:0', '--data-dir', server.dataDir];
  const settings = { PATH: process.env.PATH, ...LOOPBACK, ...env };
  const ended = spawnSync(binary(), args, { env: settings, encoding: 'utf8', timeout: 20_000 });
  assert.equal(ended.status, 1, `it ended with ${ended.status ?? ended.signal}: ${ended.stderr}`);
  return ended.stderr;
}

const mode = (file) => statSync(file).mode & 0o777;

test('what the server makes can be read by its own user alone', async (t) => {
  const before = process.umask(0o022); // the usual one, which lets everybody read
  t.after(() => process.umask(before));
  const server = await Server.start(t);
  await newUser(server.base);
  assert.equal(mode(server.dataDir), 0o700);
  const files = readdirSync(server.dataDir);
  assert.ok(files.includes('tributary.db') && files.includes('tributary.db-wal') && files.includes('events.db'), `${files}`);
  for (const file of files) assert.equal(mode(path.join(server.dataDir, file)) & 0o077, 0, file);
});

test('a second server on a folder is refused before it touches anything', async (t) => {
  const server = await Server.start(t);
  const key = path.join(server.dir, 'another-key');
  assert.match(refused(server, { TRIBUTARY_STORE__KEY_FILE: key }), /lock .*open elsewhere/);
  assert.equal(existsSync(key), false, 'it has made no key');
  await newUser(server.base);
});

test('a store whose key is gone is not opened with a new one, also when nothing in it is sealed', async (t) => {
  const server = await Server.start(t);
  const user = await newUser(server.base);
  await server.kill('SIGTERM');
  const [key, kept] = [path.join(server.dataDir, 'key'), path.join(server.dir, 'kept')];
  renameSync(key, kept);
  assert.match(refused(server), /key file .*key: is missing, but the store was written with one/);
  assert.equal(existsSync(key), false, 'there is no new key beside an old store');
  const other = path.join(server.dir, 'other');
  const second = await Server.launch(LOOPBACK, { dataDir: other });
  await second.close();
  assert.match(refused(server, { TRIBUTARY_STORE__KEY_FILE: path.join(other, 'key') }), /is the key file the one that it was written with/);
  renameSync(kept, key);
  await server.restart();
  await user.api.want(200, 'GET', '/v1/user');
});
