// One server, one tenant that misbehaves, one neighbour: what the neighbour sees of it, and what it costs the process.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { Neighbour } from './neighbour.mjs';
import { LOOPBACK, Server } from './server.mjs';
import { Tenant } from './tenant.mjs';

/** How long the slowest but one of a hundred may take, in milliseconds, while its destination is awake. */
export const NEIGHBOUR_MS = 1_000;
/** What the process may take, in MiB. */
export const MEMORY_MIB = 400;

/** The most memory that the process has had so far, in MiB. */
export function peakMiB(server) {
  const status = readFileSync(`/proc/${server.pid}/status`, 'utf8');
  return Math.round(Number(/^VmHWM:\s*(\d+) kB$/m.exec(status)[1]) / 1_024);
}

/** A number from the server's metrics; `undefined` where there is none of that name. */
export async function gauge(api, name) {
  const { text } = await api.req('GET', '/metrics');
  const found = new RegExp(`^${name} (\\d+)`, 'm').exec(text);
  return found ? Number(found[1]) : undefined;
}

export class Scene {
  static async start(t, env = {}) {
    const scene = new Scene();
    scene.t = t;
    scene.server = await Server.start(t, { ...LOOPBACK, ...env });
    scene.neighbour = await Neighbour.start(t, scene.server);
    scene.tenant = await Tenant.start(scene.server);
    return scene;
  }

  /**
   * Lets the tenant misbehave and says what came of it, in one line. Throws unless the neighbour's events were there in
   * time, each once, and the process stayed within its memory.
   */
  async watch(misbehave) {
    try {
      await this.neighbour.during(() => misbehave(this.tenant));
      await this.neighbour.arrived();
    } finally {
      this.tell();
    }
    const { p99 } = this.neighbour.figures();
    assert.equal(this.neighbour.missing(), 0, 'the neighbour\'s events arrive');
    assert.ok(p99 < NEIGHBOUR_MS, `the neighbour waits ${p99} ms`);
    this.assertMemory();
    await this.neighbour.settled();
  }

  assertMemory() {
    const peak = peakMiB(this.server);
    assert.ok(peak < MEMORY_MIB, `the process has had ${peak} MiB`);
  }

  tell() {
    const { events, p50, p99, worst } = this.neighbour.figures();
    const { accepted, refused } = this.tenant;
    const waits = `neighbour: ${events} events, p50 ${p50} ms, p99 ${p99} ms, worst ${worst} ms, ${this.neighbour.missing()} missing`;
    const others = `the other: ${accepted} accepted${refused ? `, ${refused} refused` : ''}`;
    console.log(`${this.t.name}: ${waits}; peak ${this.server.running ? peakMiB(this.server) : '?'} MiB; ${others}`);
  }
}
