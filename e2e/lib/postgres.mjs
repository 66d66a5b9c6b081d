// A PostgreSQL server of a test's own, and psql to look into it.
import { execFileSync } from 'node:child_process';
import { chmodSync, chownSync, existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { Daemon, certificate, folder } from './daemon.mjs';
import { freePort } from './server.mjs';
import { eventually } from './wait.mjs';

/** Debian keeps the programs of each version in a folder of its own, outside the PATH. */
const VERSIONS = '/usr/lib/postgresql';
/** The programs of one version. */
export const BIN = (existsSync(VERSIONS) ? readdirSync(VERSIONS) : []).map((version) => path.join(VERSIONS, version, 'bin')).find((dir) => existsSync(path.join(dir, 'postgres')));
export const skip = BIN ? false : 'postgresql is not installed (make setup)';

export const USER = { username: 'tributary', password: 'the-password-of-the-database' };
export const DATABASE = 'postgres';

/** The server refuses to be run by root: then it is run by the user that Debian's package has made for it. */
function runner() {
  if (process.getuid() !== 0) return {};
  const id = (what) => Number(execFileSync('id', [what, 'postgres']));
  return { uid: id('-u'), gid: id('-g') };
}

export class Postgres {
  /**
   * A server with the users `tributary`, `older` (MD5) and `certified` (must show the certificate `pem`), one password. What
   * it stores is on the disk before it says so only with `fsync`.
   */
  static async start(t, { fsync = 'off' } = {}) {
    const postgres = new Postgres();
    const dir = await folder(t, 'postgres');
    const options = { cwd: dir, ...runner() };
    const data = path.join(dir, 'data');
    postgres.port = await freePort();
    postgres.url = `postgres://127.0.0.1:${postgres.port}`;
    const { cert, key, pem } = certificate(dir);
    postgres.pem = pem;
    mkdirSync(data);
    chmodSync(key, 0o600);
    if (options.uid !== undefined) for (const file of [dir, data, key, cert]) chownSync(file, options.uid, options.gid);
    execFileSync(path.join(BIN, 'initdb'), ['-D', data, '-U', 'owner', '-A', 'trust', '--no-sync'], { ...options, stdio: 'ignore' });
    const local = '127.0.0.1/32';
    writeFileSync(path.join(data, 'pg_hba.conf'), `host all owner ${local} trust
hostssl all certified ${local} md5 clientcert=verify-ca
host all all ${local} md5
`);
    const settings = {
      listen_addresses: '127.0.0.1', port: postgres.port, unix_socket_directories: '', fsync,
      ssl: 'on', ssl_cert_file: cert, ssl_key_file: key, ssl_ca_file: cert,
    };
    const args = ['-D', data, ...Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`])];
    // SIGTERM would wait for connections to end, SIGINT ends them.
    postgres.daemon = await Daemon.start(t, path.join(BIN, 'postgres'), args, { port: postgres.port, dir, options, ends: 'SIGINT' });
    // It listens a moment before it serves.
    await eventually(() => postgres.run('SELECT 1'));
    postgres.run(`
      CREATE TABLE readings (event_id text PRIMARY KEY, device text NOT NULL, n integer, at timestamptz, note text);
      CREATE ROLE ${USER.username} LOGIN PASSWORD '${USER.password}';
      CREATE ROLE certified LOGIN PASSWORD '${USER.password}';
      SET password_encryption = 'md5';
      CREATE ROLE older LOGIN PASSWORD '${USER.password}';
      GRANT INSERT, SELECT ON readings TO ${USER.username}, older, certified;
    `);
    return postgres;
  }

  /** Runs SQL as the owner; gives the rows as lists of texts. */
  run(sql) {
    const args = ['-X', '-q', '-A', '-t', '-v', 'ON_ERROR_STOP=1', '-h', '127.0.0.1', '-p', `${this.port}`, '-U', 'owner', '-d', DATABASE, '-c', sql];
    const out = execFileSync(path.join(BIN, 'psql'), args, { encoding: 'utf8', maxBuffer: 64 << 20, stdio: ['ignore', 'pipe', 'pipe'] });
    return out.split('\n').filter(Boolean).map((line) => line.split('|'));
  }
}
