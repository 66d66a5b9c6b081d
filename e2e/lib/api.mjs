// A small JSON client, for what the public client has no call for and for requests that it would never send.
import assert from 'node:assert/strict';
import http from 'node:http';

const TIMEOUT_MS = 30_000;
const agent = new http.Agent({ keepAlive: true, maxSockets: 32 });

/**
 * One request. The body is `json` (any value), `form` (an object) or `body` (string or Buffer). With `expectContinue`
 * the body waits for the server's consent, as curl does with a large one. Gives `{status, headers, text, body}`.
 */
export function request(base, method, path, options = {}) {
  const { token, json, form, body, headers = {}, expectContinue = false } = options;
  const url = new URL(path, base);
  const sent = { ...headers };
  let payload = body;
  if (json !== undefined) {
    payload = JSON.stringify(json);
    sent['content-type'] ??= 'application/json';
  } else if (form !== undefined) {
    payload = new URLSearchParams(form).toString();
    sent['content-type'] ??= 'application/x-www-form-urlencoded';
  }
  if (token) sent.authorization = `Bearer ${token}`;
  if (payload !== undefined) sent['content-length'] = Buffer.byteLength(payload);
  if (expectContinue) sent.expect = '100-continue';
  return new Promise((resolve, reject) => {
    const target = { hostname: url.hostname, port: url.port, path: url.pathname + url.search };
    const req = http.request({ method, ...target, headers: sent, agent, timeout: TIMEOUT_MS });
    req.on('response', (res) => {
      const chunks = [];
      res.on('data', (chunk) => chunks.push(chunk));
      res.on('error', reject);
      res.on('end', () => resolve(answer(res, Buffer.concat(chunks).toString('utf8'))));
    });
    req.on('timeout', () => req.destroy(new Error(`no answer to ${method} ${path} in ${TIMEOUT_MS} ms`)));
    req.on('error', reject);
    if (expectContinue) {
      req.on('continue', () => req.end(payload));
      req.flushHeaders();
    } else {
      req.end(payload);
    }
  });
}

function answer(res, text) {
  let body;
  try {
    body = JSON.parse(text);
  } catch {
    body = undefined; // not JSON: the caller's assertion shows the text
  }
  return { status: res.statusCode, headers: res.headers, text, body };
}

export class Api {
  constructor(base, token) {
    this.base = base;
    this.token = token;
  }

  req(method, path, options = {}) { return request(this.base, method, path, { token: this.token, ...options }); }

  /** A request that must be answered with `status`; gives the body. */
  async want(status, method, path, json) {
    const got = await this.req(method, path, { json });
    assert.equal(got.status, status, `${method} ${path} answered ${got.status}: ${got.text.slice(0, 400)}`);
    return got.body;
  }

  /** An integration by its id, seen from an organization or a product. */
  async integration(scope, id) { return (await this.want(200, 'GET', `${scope}/integrations/${id}`)).integration; }

  /** The history of an integration: `total` and `of(product id)`, summed over the days. */
  async history(scope, id) {
    const { history } = await this.want(200, 'GET', `${scope}/integrations/${id}/history?days=30`);
    const days = (product) => history.products.find((p) => p.id === product)?.days ?? [];
    return { total: sum(history.total), of: (product) => sum(days(product)) };
  }
}

function sum(days) {
  const total = { success: 0, error: 0, skipped: 0 };
  for (const day of days) for (const key of Object.keys(total)) total[key] += day[key] ?? 0;
  return total;
}
