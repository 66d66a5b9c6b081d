// The crash harness in its short form; `make soak` is the long one. What it claims is told in e2e/lib/tally.mjs.
import assert from 'node:assert/strict';
import test from 'node:test';
import { Soak } from '../lib/soak.mjs';

const CYCLES = 5;
const SEED = Number(process.env.SEED ?? 20_240_615);

test('killed again and again under load, the server loses nothing and counts nothing twice', { timeout: 120_000 }, async (t) => {
  t.diagnostic(`seed ${SEED}; another one: SEED=n bash e2e/run.sh kill`);
  const soak = await Soak.start(t, SEED);
  for (let cycle = 1; cycle <= CYCLES; cycle += 1) t.diagnostic(await soak.cycle());
  const books = await soak.settle();
  assert.ok(books.every((row) => row.accepted > 0), 'every product published');

  // An orderly end and another start bring out whatever was still under way: the books must stay as they are.
  assert.equal((await soak.server.kill('SIGTERM')).code, 0);
  await soak.server.restart();
  assert.deepEqual(await soak.settle(), books);
});
