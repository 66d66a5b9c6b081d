// What storage can do to a server: it is full, its last write is torn, a file is not there any more. Contract 4.1: 200
// only once an event is durable, 503 if it cannot be stored; and nothing that was accepted is lost.
//
// The machine of a test does not lose power, so what a loss of power may take is taken from the files by hand: bytes of
// the write-ahead logs that were written after the last commit that anybody was told of. What was told must be there.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { closeSync, mkdirSync, openSync, readFileSync, rmSync, writeSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import test from 'node:test';
import { Books, isReady } from '../lib/books.mjs';
import { LogFile } from '../lib/files.mjs';
import { Random } from '../lib/random.mjs';
import { Receiver } from '../lib/receiver.mjs';
import { LOOPBACK, Server } from '../lib/server.mjs';
import { eventually } from '../lib/wait.mjs';

const SEED = Number(process.env.SEED ?? 1);
/** Bytes of the small disk. The server sets 8 MiB of it aside. */
const DISK_BYTES = 40 << 20;
/** Connections of the store to its database. */
const STORE_CONNECTIONS = 8;
/** Bytes that one reading is padded with, so that a disk is soon full. */
const PADDING = 12_000;

/** A file system of its own, of `bytes`; null where none may be mounted. */
async function smallDisk(bytes) {
  const folder = await mkdtemp(path.join(tmpdir(), 'tributary-disk-'));
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${bytes},mode=700`, 'tributary', folder], { stdio: 'pipe' });
  } catch {
    await rm(folder, { recursive: true });
    return null;
  }
  const filler = path.join(folder, 'filler');
  const fill = () => {
    const file = openSync(filler, 'a');
    for (let piece = 1 << 20; piece >= 512;) {
      try {
        if (writeSync(file, Buffer.alloc(piece)) < piece) piece >>= 1;
      } catch (error) {
        if (error.code !== 'ENOSPC') throw error;
        piece >>= 1;
      }
    }
    closeSync(file);
  };
  const free = () => rmSync(filler, { force: true });
  const end = async () => {
    execFileSync('umount', [folder]);
    await rm(folder, { recursive: true, force: true });
  };
  return { folder, fill, free, end };
}

/** A server whose data lie on a small disk. Undefined, with the test skipped, where there can be none. */
async function serverOnSmallDisk(t) {
  const disk = await smallDisk(DISK_BYTES);
  if (!disk) return void t.skip('no file system can be mounted here: it takes the rights of root');
  let server;
  t.after(async () => {
    try {
      await server?.close();
    } finally {
      await disk.end();
    }
  });
  const dataDir = path.join(disk.folder, 'data');
  mkdirSync(dataDir);
  server = await Server.launch(LOOPBACK, { dataDir });
  return { server, disk };
}

/** Publishes until a reading is refused; gives how many were not. */
async function publishUntilRefused(books) {
  for (let accepted = 0; accepted < 10_000; accepted += 1) {
    const status = await books.publish(1, PADDING);
    if (status === 503) return accepted;
    assert.equal(status, 200);
  }
  throw new Error('a full disk takes everything');
}

test('a full disk refuses readings with 503 and loses none, and all goes on when there is space', { timeout: 180_000 }, async (t) => {
  const made = await serverOnSmallDisk(t);
  if (!made) return;
  const { server, disk } = made;
  const receiver = await Receiver.start(t);
  // The destination answers late, so that deliveries are under way when the disk is full.
  const books = await Books.start(server.base, receiver, (steady, request) => ({ ...steady(request), delay: 50 }));
  for (let round = 0; round < 3; round += 1) {
    assert.equal(await books.publish(20, PADDING), 200);
    disk.fill();
    await publishUntilRefused(books);
    for (let i = 0; i < 10; i += 1) {
      const status = await books.publish(1 + i, PADDING);
      assert.ok(status === 503 || status === 200, `a publish answered ${status}`);
    }
    disk.free();
    await eventually(async () => assert.equal(await books.publish(), 200), { within: 20_000, every: 200 });
    await eventually(async () => assert.ok(await isReady(server.base)), { within: 20_000, every: 200 });
  }
  await books.settled(60_000);
});

test('a disk that stays full for a while is no end: history and changes are written again afterwards', { timeout: 180_000 }, async (t) => {
  const made = await serverOnSmallDisk(t);
  if (!made) return;
  const { server, disk } = made;
  const receiver = await Receiver.start(t);
  // The destination answers late, so that outcomes come to be written while the disk is full.
  const books = await Books.start(server.base, receiver, (steady, request) => ({ ...steady(request), delay: 300 }));
  const config = { event: 'other', url: receiver.url('/other'), product_ids: [books.product.id] };
  const create = () => books.api.req('POST', `${books.org.scope}/integrations`, { json: config });
  assert.equal(await books.publish(100), 200);
  disk.fill();
  await publishUntilRefused(books);
  // More writes of the store fail than it has connections.
  for (let refused = 0; refused < 2 * STORE_CONNECTIONS;) {
    const { status, text } = await create();
    assert.ok([201, 503].includes(status), `a change answered ${status}: ${text}`);
    if (status === 503) refused += 1;
  }
  disk.free();
  await eventually(async () => assert.equal((await create()).status, 201), { within: 20_000, every: 200 });
  await eventually(async () => assert.equal(await books.publish(), 200), { within: 20_000, every: 200 });
  await books.settled(30_000);
});

test('SIGTERM on a full disk ends the process within 10 s, and what it could not write is done again', { timeout: 180_000 }, async (t) => {
  const made = await serverOnSmallDisk(t);
  if (!made) return;
  const { server, disk } = made;
  const receiver = await Receiver.start(t);
  const books = await Books.start(server.base, receiver, (steady, request) => ({ ...steady(request), delay: 300 }));
  assert.equal(await books.publish(100), 200);
  disk.fill();
  await publishUntilRefused(books);
  const { code, ms } = await server.kill('SIGTERM');
  assert.equal(code, 0);
  assert.ok(ms < 10_000, `the end took ${ms} ms`);
  disk.free();
  await server.restart();
  assert.equal(await books.publish(), 200);
  await books.settled(60_000);
});

test('a server that is killed on a full disk has everything when it is started with space', { timeout: 180_000 }, async (t) => {
  const made = await serverOnSmallDisk(t);
  if (!made) return;
  const { server, disk } = made;
  const receiver = await Receiver.start(t);
  let slow = true;
  const books = await Books.start(server.base, receiver, (steady, request) => (slow ? 'hang' : steady(request)));
  assert.equal(await books.publish(200, 100), 200);
  disk.fill();
  await publishUntilRefused(books);
  await server.kill('SIGKILL');
  // It may start or say why not; whatever it does, it must not spoil what is there.
  server.begin();
  await server.ready().catch((error) => assert.match(error.message, /full|disk|space|ended with status 1/i));
  if (server.running) await server.kill('SIGKILL');
  slow = false;
  disk.free();
  await server.restart();
  assert.equal(await books.publish(), 200);
  await books.settled(60_000);
});

test('a full disk makes room by itself once what fills the event log was delivered', { timeout: 180_000 }, async (t) => {
  const made = await serverOnSmallDisk(t);
  if (!made) return;
  const { server } = made;
  const receiver = await Receiver.start(t);
  const books = await Books.start(server.base, receiver);
  // Nobody frees anything: the log grows until the disk is full, and is trimmed behind what was delivered.
  let refused = 0;
  for (let batch = 0; batch < 80; batch += 1) {
    if ((await books.publish(60, PADDING)) === 503) refused += 1;
  }
  t.diagnostic(`${books.sent.accepted.size} readings of ${PADDING} bytes accepted, ${refused} batches of 60 refused`);
  assert.ok(refused > 0, 'the disk was full');
  await eventually(async () => assert.equal(await books.publish(60, PADDING), 200), { within: 60_000, every: 500 });
  await books.settled(60_000);
});

test('a torn last write costs nothing that was accepted', { timeout: 180_000 }, async (t) => {
  t.diagnostic(`seed ${SEED}`);
  const random = new Random(SEED);
  const server = await Server.start(t);
  const receiver = await Receiver.start(t);
  const books = await Books.start(server.base, receiver);
  for (let round = 0; round < 4; round += 1) {
    await restartedInOrder(server);
    const events = new LogFile(server.dataDir, 'events.db');
    const store = new LogFile(server.dataDir, 'tributary.db');
    const database = readFileSync(path.join(server.dataDir, 'tributary.db'));
    // Everything up to here is told to somebody; the log cannot be shorter than after the last answer.
    let told = 0;
    const publish = async (count) => {
      if ((await books.publish(count)) === 200) told = Math.max(told, events.size);
    };
    for (let i = 0; i < 20; i += 1) await publish(random.between(1, 10));
    const unanswered = Promise.all(Array.from({ length: 40 }, () => publish(random.between(1, 10))));
    await new Promise((resolve) => { setTimeout(resolve, random.between(1, 40)); });
    await server.kill('SIGKILL');
    await unanswered;

    assert.ok(database.equals(readFileSync(path.join(server.dataDir, 'tributary.db'))), 'no checkpoint was made');
    const [end, keep] = [events.end, Math.min(told, events.end)];
    const cut = random.between(keep, end);
    events.cut(cut);
    if (round % 2 === 0) events.tear(random);
    // What the data plane had committed was told to nobody: all of it may go, and is done again.
    const left = random.between(0, store.end);
    t.diagnostic(`cut from the event log ${end - cut} of ${end - keep} bytes that may go, from the store ${store.end - left} of ${store.end}`);
    store.cut(left);
    if (round > 1 && store.size > store.pageBytes) store.tear(random);
    await server.restart();
    assert.equal(await books.publish(), 200);
    await books.settled(60_000);
  }
});

/** Stops the server in order, which empties the write-ahead logs, and starts it again. */
async function restartedInOrder(server) {
  assert.equal((await server.kill('SIGTERM')).code, 0);
  await server.restart();
}

test('an event log that was lost or replaced by an older one takes and delivers new readings', { timeout: 120_000 }, async (t) => {
  const server = await Server.start(t);
  const receiver = await Receiver.start(t);
  const books = await Books.start(server.base, receiver);
  assert.equal(await books.publish(50), 200);
  await books.settled();
  assert.equal((await server.kill('SIGTERM')).code, 0);
  for (const name of ['events.db', 'events.db-wal', 'events.db-shm']) rmSync(path.join(server.dataDir, name), { force: true });
  await server.restart();
  assert.equal(await books.publish(20), 200);
  await books.settled();
});
