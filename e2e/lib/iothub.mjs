// An Azure IoT hub as Microsoft documents it ("Control access to IoT Hub by using shared access signatures", "Create or update
// device identity", "Send device event"), and Microsoft's own library to make signatures and devices of its own there.
import { execFile, execFileSync } from 'node:child_process';
import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto';
import { existsSync } from 'node:fs';
import http from 'node:http';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { Gate } from './gate.mjs';

const HERE = path.dirname(fileURLToPath(import.meta.url));
const PYTHON = path.join(HERE, '../../target/tools/bin/python');
const SCRIPT = path.join(HERE, 'iothub.py');
export const skip = existsSync(PYTHON) ? false : 'the Python packages are not installed (make setup)';

export const HOST = 'my-hub.azure-devices.net';
const MESSAGE_BYTES = 256 * 1024;
const DEVICE_ID = /^[A-Za-z0-9\-:.+%_#*?!(),=@;$']{1,128}$/;
const policy = (...rights) => ({ key: randomBytes(32).toString('base64'), rights: new Set(rights) });

/** An answer of the hub that is an error. */
class Refused extends Error {
  constructor(status, code, text) {
    super(text);
    Object.assign(this, { status, code });
  }
}

const parts = (text) => Object.fromEntries(text.split('&').map((pair) => pair.split(/=(.*)/s).slice(0, 2)));

/** The four parts of a signature, decoded. */
export function readSignature(header) {
  const [scheme, rest] = header.split(' ');
  if (scheme !== 'SharedAccessSignature') throw new Error(`no signature: ${scheme}`);
  return Object.fromEntries(Object.entries(parts(rest)).map(([name, value]) => [name, decodeURIComponent(value)]));
}

export class IotHub {
  policies = { iothubowner: policy('registry', 'device'), device: policy('device'), service: policy('service') };
  /** By id: what the registry says of it. */
  devices = new Map();
  /** Every message that was taken, in order: `{device, body, id}`. */
  messages = [];
  /** Requests for the registry that made a device, and those that were too late. */
  created = [];
  conflicts = 0;
  signatures = new Set();
  #faults = [];

  static async start(t) {
    const hub = new IotHub();
    const server = http.createServer({ keepAliveTimeout: 30_000 }, (req, res) => hub.#handle(req, res));
    await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
    t.after(() => {
      server.closeAllConnections();
      return new Promise((resolve) => server.close(resolve));
    });
    hub.url = `http://127.0.0.1:${server.address().port}`;
    hub.gate = await Gate.start(t, server.address().port);
    return hub;
  }

  /** The settings of a server that has every hub here, behind the gate. */
  get env() {
    return { TRIBUTARY_TARGETS__AZURE_IOT_HUB__ENDPOINT: `http://127.0.0.1:${this.gate.port}` };
  }

  /** Lets the next requests fail, each so: `[status, code, text]`. */
  fail(...faults) {
    this.#faults.push(...faults);
  }

  /** A signature of Microsoft's library. */
  static sign(name, key, expires) {
    return execFileSync(PYTHON, [SCRIPT, 'sign', HOST, name, key, `${expires}`], { encoding: 'utf8' }).trim();
  }

  /** Makes a device with Microsoft's library, or reads one: `{status, device}`. */
  registry(command, id) {
    const connection = `HostName=${HOST};SharedAccessKeyName=iothubowner;SharedAccessKey=${this.policies.iothubowner.key}`;
    // Not in one call that blocks: it is this process that answers.
    return new Promise((resolve, reject) => {
      execFile(PYTHON, [SCRIPT, command, this.url, connection, id], (error, out) => (error ? reject(error) : resolve(JSON.parse(out))));
    });
  }

  /** Checks who signs, and what they may do. */
  #authorize(header, resource, right) {
    const unauthorized = (why) => new Refused(401, 'IotHubUnauthorizedAccess', why);
    const [scheme, rest] = (header ?? '').split(' ');
    if (scheme !== 'SharedAccessSignature') throw unauthorized('no signature');
    const { sr, sig, se, skn, ...more } = parts(rest);
    const known = this.policies[decodeURIComponent(skn ?? '')];
    if (!known || !sr || !sig || !/^\d+$/.test(se) || Object.keys(more).length) throw unauthorized('a part of the signature is missing');
    const expected = createHmac('sha256', Buffer.from(known.key, 'base64')).update(`${sr}\n${se}`).digest();
    const given = Buffer.from(decodeURIComponent(sig), 'base64');
    if (given.length !== expected.length || !timingSafeEqual(given, expected)) throw unauthorized('the signature is wrong');
    if (Number(se) <= Date.now() / 1_000) throw unauthorized('the signature has expired');
    // It is good for what it is signed for and for all below that, by whole segments.
    if (!`${resource}/`.startsWith(`${decodeURIComponent(sr).toLowerCase()}/`)) throw unauthorized('it is signed for something else');
    this.signatures.add(header);
    if (!known.rights.has(right)) throw new Refused(403, 'IotHubForbidden', `the policy has no right: ${right}`);
  }

  async #handle(req, res) {
    const chunks = [];
    for await (const chunk of req) chunks.push(chunk);
    let [status, body] = [204, undefined];
    try {
      [status, body] = this.#answer(req, Buffer.concat(chunks));
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      status = error.status;
      body = { Message: `ErrorCode:${error.code};${error.message}`, ExceptionMessage: `Tracking ID:${randomBytes(8).toString('hex')}` };
    }
    const text = body === undefined ? '' : JSON.stringify(body);
    const length = status === 204 ? {} : { 'content-length': Buffer.byteLength(text) };
    res.writeHead(status, { ...length, 'content-type': 'application/json; charset=utf-8', 'iothub-errorcode': body?.Message ? body.Message.split(/[:;]/)[1] : '' });
    res.end(text);
  }

  #answer(req, bytes) {
    const fault = this.#faults.shift();
    if (fault) throw new Refused(...fault);
    const url = new URL(req.url, this.url);
    const [, device, rest] = /^\/devices\/([^/]+)(\/messages\/events)?$/.exec(url.pathname) ?? [];
    if (!device) throw new Refused(404, 'InvalidOperation', 'no such address');
    if (!/^\d{4}-\d\d-\d\d$/.test(url.searchParams.get('api-version'))) throw new Refused(400, 'InvalidProtocolVersion', 'api-version is missing');
    const id = decodeURIComponent(device);
    this.#authorize(req.headers.authorization, `${HOST}/devices/${device}`, rest ? 'device' : 'registry');
    if (!DEVICE_ID.test(id)) throw new Refused(400, 'ArgumentInvalid', 'the id of the device is invalid');
    switch (`${req.method} ${rest ?? ''}`) {
      case 'PUT ': return this.#put(id, req.headers['if-match'], JSON.parse(bytes));
      case 'GET ': return [200, this.#known(id)];
      case 'POST /messages/events': return this.#take(id, req.headers, bytes);
      default: throw new Refused(405, 'InvalidOperation', 'no such method');
    }
  }

  #known(id) {
    const device = this.devices.get(id);
    if (!device) throw new Refused(404, 'DeviceNotFound', `Device ${id} not registered`);
    return device;
  }

  #put(id, match, given) {
    if (given.deviceId !== id) throw new Refused(400, 'DeviceDefinedMultipleTimes', 'the ids in address and body differ');
    const old = this.devices.get(id);
    if (match !== undefined) {
      const etag = this.#known(id).etag;
      if (match !== '*' && match !== `"${etag}"`) throw new Refused(412, 'PreconditionFailed', `Precondition failed: the device has version ${etag}`);
    } else if (old) {
      this.conflicts += 1;
      throw new Refused(409, 'DeviceAlreadyExists', `A device with ID '${id}' is already registered.`);
    } else {
      this.created.push(id);
    }
    const key = () => randomBytes(32).toString('base64');
    const authentication = given.authentication ?? { type: 'sas', symmetricKey: { primaryKey: key(), secondaryKey: key() } };
    const device = { deviceId: id, generationId: '1', etag: randomBytes(6).toString('base64'), status: given.status ?? 'enabled', authentication };
    this.devices.set(id, device);
    return [200, device];
  }

  #take(id, headers, bytes) {
    if (this.#known(id).status !== 'enabled') throw new Refused(403, 'DeviceNotEnabled', `Device ${id} is disabled`);
    if (bytes.length > MESSAGE_BYTES) throw new Refused(413, 'MessageTooLarge', 'the message is longer than 256 KB');
    this.messages.push({ device: id, body: JSON.parse(bytes), id: headers['iothub-messageid'] });
    return [204, undefined];
  }
}
