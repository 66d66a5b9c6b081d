// Mosquitto, the MQTT broker of the Eclipse Foundation, and its own subscriber.
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import readline from 'node:readline';
import { Daemon, certificate, folder, program } from './daemon.mjs';
import { freePort } from './server.mjs';

const [BROKER, SUBSCRIBER, PASSWORDS] = ['mosquitto', 'mosquitto_sub', 'mosquitto_passwd'].map(program);
export const skip = BROKER && SUBSCRIBER ? false : 'mosquitto is not installed (make setup)';

export const USER = { username: 'tributary', password: 'the-brokers-password' };

export class Mosquitto {
  /**
   * A broker with one user that keeps what a subscriber has not got yet, also over a restart. With `tls` it has another
   * port, where clients must show the certificate `pem`, which is its own too.
   */
  static async start(t, { tls = false } = {}) {
    const mosquitto = new Mosquitto();
    const dir = await folder(t, 'mosquitto');
    mosquitto.port = await freePort();
    mosquitto.url = `mqtt://127.0.0.1:${mosquitto.port}`;
    const passwords = path.join(dir, 'passwords');
    execFileSync(PASSWORDS, ['-b', '-c', passwords, USER.username, USER.password], { stdio: 'ignore' });
    const config = [
      `listener ${mosquitto.port} 127.0.0.1`, 'allow_anonymous false', `password_file ${passwords}`,
      'persistence true', `persistence_location ${dir}/`, 'max_queued_messages 0', 'max_inflight_messages 0',
      ...(process.getuid() === 0 ? ['user root'] : []),
    ];
    if (tls) {
      const { cert, key, pem } = certificate(dir);
      const port = await freePort();
      Object.assign(mosquitto, { pem, secure: `mqtts://127.0.0.1:${port}` });
      config.push(`listener ${port} 127.0.0.1`, `certfile ${cert}`, `keyfile ${key}`, `cafile ${cert}`, 'require_certificate true');
    }
    const file = path.join(dir, 'mosquitto.conf');
    await writeFile(file, `${config.join('\n')}\n`);
    mosquitto.daemon = await Daemon.start(t, BROKER, ['-c', file], { port: mosquitto.port, dir });
    return mosquitto;
  }

  /** Subscribes for as long as the test lasts; gives the list of messages, `{topic, retain, payload}`, that grows. */
  async subscribe(t, topic = '#', version = '311') {
    const args = [
      '-h', '127.0.0.1', '-p', `${this.port}`, '-u', USER.username, '-P', USER.password, '-V', version, '-d',
      '-q', '1', '-c', '-i', `reader-${Math.random()}`, '-x', '600', '-t', topic, '-F', '{"topic":"%t","retain":%r,"payload":"%x"}',
    ].filter((arg, n, all) => version === 'mqttv5' || (arg !== '-x' && all[n - 1] !== '-x'));
    // Line by line: else what it says of itself is told only with the next message.
    const child = spawn('stdbuf', ['-oL', SUBSCRIBER, ...args], { stdio: ['ignore', 'pipe', 'inherit'] });
    t.after(async () => {
      const ended = once(child, 'exit');
      // Its broker is gone by now, for which it waits after a milder signal.
      child.kill('SIGKILL');
      await ended;
    });
    const messages = [];
    const lines = readline.createInterface({ input: child.stdout });
    const subscribed = new Promise((resolve, reject) => {
      child.once('exit', (code) => reject(new Error(`mosquitto_sub ended with status ${code}`)));
      lines.on('line', (line) => {
        if (line.startsWith('{')) {
          const { payload, ...message } = JSON.parse(line);
          messages.push({ ...message, payload: Buffer.from(payload, 'hex').toString() });
        } else if (line.includes('SUBACK')) resolve();
      });
    });
    subscribed.catch(() => {});
    await subscribed;
    return messages;
  }
}
