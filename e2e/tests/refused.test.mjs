// What is wrong is refused with a reason, and leaves nothing behind. Contract sections 1, 2.1, 3.2, 3.3, 4.1 and 5.
import assert from 'node:assert/strict';
import test from 'node:test';
import { request } from '../lib/api.mjs';
import { Server } from '../lib/server.mjs';
import { newOrg, newProduct, newUser, unique } from '../lib/world.mjs';

const SIGNUP_OPEN = { TRIBUTARY_ACCOUNTS__SIGNUP: 'open' };
const MIB = 1024 * 1024;
const URL_FINE = 'https://example.com/hook';

/** Every refusal says what and why, in words, and never pretends that the login was lost. */
function assertRefused(got, status, label) {
  assert.equal(got.status, status, `${label}: answered ${got.status} ${got.text.slice(0, 300)}`);
  assert.match(got.headers['content-type'] ?? '', /^application\/json/, label);
  assert.equal(typeof got.body?.error, 'string', `${label}: ${got.text.slice(0, 300)}`);
  assert.ok(got.body.error.length > 0, label);
  assert.equal(typeof got.body.error_description, 'string', `${label}: ${got.text.slice(0, 300)}`);
  assert.ok(got.body.error_description.length > 0, label);
}

/** A validation error names each wrong field: in the description the first, in `errors` all. */
function assertNames(got, fields, label) {
  assert.deepEqual([got.body.ok, got.body.error], [false, 'invalid_integration'], `${label}: ${got.text.slice(0, 300)}`);
  const named = got.body.errors.map((error) => error.field);
  for (const field of fields) {
    const within = (name) => name === field || name.startsWith(`${field}.`) || name.startsWith(`${field}[`);
    assert.ok(named.some(within), `${label}: names ${field}, not only ${named}`);
  }
  assert.ok(got.body.errors.every((error) => error.error.length > error.field.length), label);
  assert.match(got.body.error_description, new RegExp(fields.join('|')), label);
}

/** Starts a server with its defaults (private addresses are refused) and one integration in each scope. */
async function scene(t) {
  const server = await Server.start(t, SIGNUP_OPEN);
  const [user, stranger] = [await newUser(server.base), await newUser(server.base)];
  const org = await newOrg(user);
  const product = await newProduct(user, org);
  const foreign = await newProduct(stranger, await newOrg(stranger));
  const scopes = { org: org.scope, product: product.scope, sandbox: '/v1' };
  const kept = { event: 'kept', url: URL_FINE };
  await user.api.want(201, 'POST', `${org.scope}/integrations`, { ...kept, product_ids: [product.id] });
  await user.api.want(201, 'POST', '/v1/integrations', kept);
  const lists = async () => {
    const read = Object.values(scopes).map((scope) => user.api.want(200, 'GET', `${scope}/integrations`));
    return Promise.all(read);
  };
  return { server, user, org, product, foreign, scopes, lists, before: await lists() };
}

/** Bodies wrong in every scope: [label, change of a fine body, fields that must be named]. `undefined` takes a key away. */
const WRONG_FIELDS = [
  ['no event', { event: undefined }, ['event']],
  ['an empty event', { event: '' }, ['event']],
  ['an event that is a list', { event: ['a', 'b'] }, ['event']],
  ['an event that is an object', { event: { name: 'a' } }, ['event']],
  ['null for a required field', { event: null }, ['event']],
  ['no url', { url: undefined }, ['url']],
  ['another scheme', { url: 'ftp://example.com' }, ['url']],
  ['a url without a host', { url: 'https://' }, ['url']],
  ['a url that is none', { url: 'not an address' }, ['url']],
  ['a url that is a number', { url: 42 }, ['url']],
  ['a url that is an object', { url: { a: 1 } }, ['url']],
  ['a method that is not offered', { requestType: 'PATCH' }, ['requestType']],
  ['a kind that nobody knows', { integration_type: 'Carrier pigeon' }, ['integration_type']],
  ['a switch that is neither on nor off', { rejectUnauthorized: 'perhaps' }, ['rejectUnauthorized']],
  ['a switch that is an object', { disabled: {} }, ['disabled']],
  ['json that is a number', { json: 5 }, ['json']],
  ['a form that is a list', { form: ['a'] }, ['form']],
  ['a body that is an object', { body: { a: 1 } }, ['body']],
  ['headers that are text', { headers: 'X-A: b' }, ['headers']],
  ['a header name with a space', { headers: { 'X A': 'b' } }, ['headers']],
  ['a line break in a header', { headers: { 'X-A': 'b\r\nX-Injected: yes' } }, ['headers']],
  ['a query that is text', { query: 'a=1' }, ['query']],
  ['auth that is text', { auth: 'user:password' }, ['auth']],
  ['a section never closed in the body', { body: '{{#a}}open' }, ['body']],
  ['a section never opened in json', { json: { a: '{{/a}}' } }, ['json']],
  ['a tag never closed in the url', { url: 'https://example.com/{{a' }, ['url']],
  ['a template that does not parse in a header', { headers: { 'X-A': '{{#a}}' } }, ['headers']],
  ['a template that does not parse in the query', { query: { a: '{{#a}}' } }, ['query']],
  ['a template that does not parse in a form key', { form: { '{{#a}}': 'x' } }, ['form']],
  ['a template that does not parse in a topic', { responseTopic: '{{#a}}' }, ['responseTopic']],
  ['a template that does not parse in the reply', { responseTemplate: '{{#a}}' }, ['responseTemplate']],
  ['loopback', { url: 'http://127.0.0.1:9/' }, ['url']],
  ['loopback as one number', { url: 'http://2130706433/' }, ['url']],
  ['loopback of version 6', { url: 'http://[::1]/' }, ['url']],
  ['loopback of version 4 in version 6', { url: 'http://[::ffff:127.0.0.1]/' }, ['url']],
  ['a private address', { url: 'http://10.1.2.3/' }, ['url']],
  ['the metadata address', { url: 'http://169.254.169.254/latest' }, ['url']],
  ['every wrong field at once', { event: '', url: 'x', requestType: 'LOOK', json: 5 }, ['event', 'url', 'requestType', 'json']],
];

test('a wrong field is named in every scope, and nothing is stored', { timeout: 120_000 }, async (t) => {
  const { user, product, scopes, lists, before } = await scene(t);
  for (const [scope, path] of Object.entries(scopes)) {
    const fine = { event: 'e', url: URL_FINE, ...(scope === 'org' ? { product_ids: [product.id] } : {}) };
    for (const [what, change, fields] of WRONG_FIELDS) {
      const label = `${what} (${scope})`;
      const got = await user.api.req('POST', `${path}/integrations`, { json: { ...fine, ...change } });
      assertRefused(got, 400, label);
      assertNames(got, fields, label);
    }
  }
  assert.deepEqual(await lists(), before);
});

test('an edit is judged like a creation, and a refused one changes nothing', { timeout: 60_000 }, async (t) => {
  const { user, scopes, lists, before } = await scene(t);
  for (const [scope, path] of [['org', scopes.org], ['sandbox', scopes.sandbox], ['product', scopes.product]]) {
    const [{ id }] = await user.api.want(200, 'GET', `${path}/integrations`);
    for (const [what, change, fields] of WRONG_FIELDS) {
      const label = `${what} (edit, ${scope})`;
      const got = await user.api.req('PUT', `${path}/integrations/${id}`, { json: { event: 'e', url: URL_FINE, ...change } });
      assertRefused(got, 400, label);
      assertNames(got, fields, label);
    }
  }
  assert.deepEqual(await lists(), before);
});

test('two kinds of body at once, a kind and a field that do not belong are refused', { timeout: 60_000 }, async (t) => {
  const { user, product, scopes, lists, before } = await scene(t);
  const table = [
    ['json and form', '/v1', { json: { a: 'b' }, form: { a: 'b' } }, /json|form/],
    ['json and body', '/v1', { json: { a: 'b' }, body: 'x' }, /json|body/],
    ['form and body', '/v1', { form: { a: 'b' }, body: 'x' }, /form|body/],
    ['a device in an organization', scopes.org, { deviceID: 'a'.repeat(24), product_ids: [product.id] }, /deviceID/],
    ['a device in a product', scopes.product, { deviceid: 'a'.repeat(24) }, /deviceI[dD]|deviceid/],
    ['an unknown kind, with the known ones', '/v1', { integration_type: 'Nope' }, /must be one of .*Webhook/],
    ['a parse error says where', '/v1', { body: 'fine\n{{#a}}open' }, /body.*\d/s],
  ];
  for (const [what, path, change, named] of table) {
    const got = await user.api.req('POST', `${path}/integrations`, { json: { event: 'e', url: URL_FINE, ...change } });
    assertRefused(got, 400, what);
    assert.match(got.body.error_description, named, what);
  }
  assert.deepEqual(await lists(), before);
});

test('the list of products says which entry is wrong', { timeout: 60_000 }, async (t) => {
  const { user, org, product, foreign, lists, before } = await scene(t);
  const unknown = 987654321;
  const table = [
    ['no list', undefined, /list the products where the integration will execute/],
    ['an empty list', [], /product/],
    ['a wildcard', ['*'], /\*/],
    ['a wildcard after a fine entry', [product.id, '*'], /\*/],
    ['the word all', ['all'], /all/],
    ['an unknown id', [product.id, unknown], new RegExp(unknown)],
    ['an unknown slug', [product.slug, 'no-such-product'], /no-such-product/],
    ['a product of another owner', [product.id, foreign.id], new RegExp(foreign.id)],
    ['an object', [{ id: product.id }], /product_ids/],
    ['a fraction', [1.5], /1\.5/],
    ['a list in a list', [[product.id]], /product_ids/],
  ];
  for (const [what, product_ids, named] of table) {
    const got = await user.api.req('POST', `${org.scope}/integrations`, { json: { event: 'e', url: URL_FINE, product_ids } });
    assertRefused(got, 400, what);
    assert.match(got.body.error_description, /product_ids/, what);
    assert.match(got.body.error_description, named, what);
  }
  assert.deepEqual(await lists(), before);
});

test('a request that cannot be read, and an address or method that is not there, are refused as JSON', { timeout: 60_000 }, async (t) => {
  const { user, org, product, foreign, lists, before } = await scene(t);
  const integrations = `${org.scope}/integrations`;
  const json = { 'content-type': 'application/json' };
  const nowhere = 'f'.repeat(24);
  const deep = '['.repeat(100_000);
  const table = [
    [400, 'POST', integrations, 'broken JSON', { body: '{', headers: json }],
    [400, 'POST', integrations, 'no body', { body: '', headers: json }],
    [400, 'POST', integrations, 'a list for a body', { json: [] }],
    [400, 'POST', integrations, 'text for a body', { json: 'text' }],
    [400, 'POST', integrations, 'null for a body', { json: null }],
    [400, 'POST', integrations, 'JSON that never stops opening', { body: deep, headers: json }],
    [400, 'POST', integrations, 'bytes that are no text', { body: Buffer.from([0x7b, 0xff, 0xfe, 0x7d]), headers: json }],
    [413, 'POST', integrations, 'more than 1 MiB', { body: `{"event":"${'e'.repeat(MIB)}"}`, headers: json, expectContinue: true }],
    [415, 'POST', integrations, 'plain text', { body: 'event=e', headers: { 'content-type': 'text/plain' } }],
    [415, 'POST', integrations, 'XML', { body: '<event/>', headers: { 'content-type': 'application/xml' } }],
    [415, 'POST', `${product.scope}/events/batch`, 'a batch that is not NDJSON', { json: [{ name: 'e' }] }],
    [405, 'PATCH', integrations, 'a method that is not offered', { json: {} }],
    [405, 'DELETE', '/oauth/token', 'another one', {}],
    [405, 'PUT', integrations, 'PUT on a list', { json: {} }],
    [404, 'GET', '/v1/nowhere', 'an unknown path', {}],
    [404, 'GET', '/nowhere', 'an unknown path outside the API', {}],
    [404, 'GET', `${integrations}/${nowhere}`, 'an unknown integration', {}],
    [404, 'GET', `${integrations}/not-an-id`, 'an id that is none', {}],
    [404, 'PUT', `${integrations}/${nowhere}`, 'an edit of an unknown one', { json: { event: 'e', url: URL_FINE } }],
    [404, 'DELETE', `${integrations}/${nowhere}`, 'a deletion of an unknown one', {}],
    [404, 'GET', `/v1/orgs/${nowhere}/integrations`, 'an unknown organization', {}],
    [404, 'GET', '/v1/products/987654321/integrations', 'an unknown product', {}],
    [404, 'GET', '/v1/products/99999999999999999999/integrations', 'a product id beyond all bounds', {}],
    [404, 'POST', `${foreign.scope}/integrations`, 'the product of somebody else', { json: { event: 'e', url: URL_FINE } }],
  ];
  for (const [status, method, path, what, options] of table) {
    assertRefused(await user.api.req(method, path, options), status, `${method} ${what}`);
  }
  assert.deepEqual(await lists(), before);
});

test('no token, a bad one and two at once are told apart', { timeout: 60_000 }, async (t) => {
  const { server, user, org } = await scene(t);
  const path = `${org.scope}/integrations`;
  const table = [
    [400, 'invalid_request', 'no token', path, {}],
    [401, 'invalid_token', 'an unknown token', path, { token: 'a'.repeat(40) }],
    [401, 'invalid_token', 'a token that cannot be one', path, { token: 'x' }],
    [400, 'invalid_request', 'one in the header, one in the query', `${path}?access_token=${user.token}`, { token: user.token }],
  ];
  for (const [status, error, what, where, options] of table) {
    const got = await request(server.base, 'GET', where, options);
    assertRefused(got, status, what);
    assert.equal(got.body.error, error, what);
  }
});

test('an event that breaks a limit is refused, in a batch only its own line', { timeout: 60_000 }, async (t) => {
  const { user, product } = await scene(t);
  const wrong = [
    ['no name', { data: 'x' }, /name/],
    ['an empty name', { name: '' }, /name/],
    ['65 bytes of name', { name: 'n'.repeat(65) }, /name/],
    ['a name beyond ASCII', { name: 'température' }, /name/],
    ['a line break in the name', { name: 'a\nevent: b' }, /name/],
    ['a reserved name', { name: 'particle/thing' }, /name/],
    ['a reserved name in capitals', { name: 'SPARK' }, /name/],
    ['a name that is a list', { name: ['a'] }, /name/],
    ['16,385 bytes of data', { name: 'e', data: 'x'.repeat(16_385) }, /data/],
    ['16,385 bytes of data in fewer characters', { name: 'e', data: `${'é'.repeat(8_192)}x` }, /data/],
  ];
  for (const [what, json, named] of wrong) {
    for (const path of ['/v1/devices/events', `${product.scope}/events`]) {
      const got = await user.api.req('POST', path, { json });
      assertRefused(got, 400, `${what} (${path})`);
      assert.match(got.body.error_description, named, what);
    }
  }

  const headers = { 'content-type': 'application/x-ndjson' };
  const lines = ['{"name":"first"}', ...wrong.map(([, json]) => JSON.stringify(json)), '{', '{"name":"last","data":"x"}'];
  const batch = `${product.scope}/events/batch`;
  const got = await user.api.req('POST', batch, { headers, body: lines.join('\n') });
  assert.equal(got.status, 200, got.text.slice(0, 300));
  assert.equal(got.body.ok, false);
  const { results } = got.body;
  assert.deepEqual(results.map((line) => line.ok), lines.map((_line, at) => at === 0 || at === lines.length - 1));
  for (const line of results.filter((result) => !result.ok)) {
    assert.deepEqual([typeof line.error, typeof line.error_description], ['string', 'string']);
  }

  const many = Array(1_001).fill('{"name":"e"}').join('\n');
  assertRefused(await user.api.req('POST', batch, { headers, body: many }), 413, '1,001 lines');
});

test('people, organizations and products with wrong fields are refused', { timeout: 60_000 }, async (t) => {
  const { server, user, org, product } = await scene(t);
  const table = [
    ['a user without a name', '/v1/users', { password: `Pw-${unique()}` }, /username/],
    ['a user without a password', '/v1/users', { username: `${unique()}@example.com` }, /password/],
    ['a name that is taken', '/v1/users', { username: user.username, password: `Pw-${unique()}` }, /username/],
    ['an organization without a name', '/v1/orgs', {}, /name/],
    ['a plan that is not sold', '/v1/orgs', { name: `Org ${unique()}`, plan: 'gold' }, /plan/],
    ['a product without a name', `${org.scope}/products`, { product: {} }, /name/],
    ['a product name that is taken', `${org.scope}/products`, { product: { name: product.name } }, /name/],
    ['a secret with a wrong name', '/v1/secrets', { secret: { name: 'lower', value: 'x' } }, /name/],
  ];
  for (const [what, path, json, named] of table) {
    const token = path === '/v1/users' ? undefined : user.token;
    const got = await request(server.base, 'POST', path, { token, json });
    assert.ok(got.status === 400 || got.status === 409, `${what}: answered ${got.status} ${got.text.slice(0, 300)}`);
    assertRefused(got, got.status, what);
    assert.match(got.body.error_description, named, what);
  }
});
