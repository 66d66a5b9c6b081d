// The crash harness in its long form: `make soak`, or `node e2e/soak.mjs`. CYCLES = how often the server is killed (100),
// SEED = which choices are made (by chance; printed). Ends with status 1 at the first discrepancy.
import { Soak } from './lib/soak.mjs';

const CYCLES = Number(process.env.CYCLES ?? 100);
const SEED = Number(process.env.SEED ?? Date.now() % 2 ** 31);
/** The books are compared this often, so that a discrepancy is told near to where it arose. */
const SETTLE_EVERY = 10;
if (!Number.isInteger(CYCLES) || CYCLES < 1 || !Number.isInteger(SEED)) {
  console.error('CYCLES and SEED must be whole numbers');
  process.exit(2);
}

const ends = [];
let status = 1;
console.log(`soak: ${CYCLES} cycles, seed ${SEED}`);
try {
  const soak = await Soak.start({ after: (end) => ends.push(end) }, SEED);
  for (let cycle = 1; cycle <= CYCLES; cycle += 1) {
    console.log(`cycle ${String(cycle).padStart(4)}: ${await soak.cycle()}`);
    if (cycle % SETTLE_EVERY === 0 && cycle < CYCLES) await soak.settle();
  }
  console.table(await soak.settle());
  const { cycles, early, changes, unanswered } = soak.totals;
  console.log(`${cycles + early} kills (${early} while starting), ${changes} changes (${unanswered} unanswered), no discrepancy`);
  status = 0;
} catch (error) {
  console.error(`soak: seed ${SEED}\n`, error);
}
for (const end of ends.reverse()) {
  try {
    await end();
  } catch (error) {
    console.error(error);
    status = 1;
  }
}
process.exit(status);
