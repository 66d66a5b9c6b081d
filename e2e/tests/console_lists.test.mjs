// Lists, live events and the small things around them in a real browser.
import assert from 'node:assert/strict';
import test from 'node:test';
import { openBrowser, openWindow, scrollsSideways, signIn } from '../lib/browser.mjs';
import { Receiver } from '../lib/receiver.mjs';
import { Server } from '../lib/server.mjs';
import { eventually } from '../lib/wait.mjs';
import { newProduct, shareWebhook, threeProducts } from '../lib/world.mjs';

async function world(t) {
  const server = await Server.start(t);
  const receiver = await Receiver.start(t);
  const browser = await openBrowser(t);
  const it = await threeProducts(server.base);
  const page = await openWindow(browser, server.base);
  await signIn(page, it.user);
  return { server, receiver, browser, page, list: `/orgs/${it.org.slug}/integrations`, ...it };
}

const IDS = ['0123456789abcdef01234567', '89abcdef0123456789abcdef'];
const live = (page, name) => page.getByRole('log').locator(':scope > details').filter({ hasText: name });

test('going back on a list that was filtered, ordered or paged shows the whole page as it was', async (t) => {
  const it = await world(t);
  for (let n = 0; n < 3; n += 1) await shareWebhook(it, it.receiver, undefined, { name: `Number ${n}`, disabled: n === 0 });
  const { page } = it;
  const whole = async (state) => {
    await page.getByRole('navigation', { name: 'Main' }).waitFor();
    await page.getByRole('heading', { name: 'Integrations', exact: true }).waitFor();
    await eventually(async () => assert.equal(await page.getByLabel('State').inputValue(), state), { within: 5_000, every: 50 });
  };
  const after = (act) => Promise.all([page.waitForResponse((answer) => answer.url().includes('/integrations?')), act()]);
  await page.goto(it.list);
  await after(() => page.getByLabel('State').selectOption('disabled'));
  await page.waitForURL(/state=disabled/);
  await after(() => page.getByLabel('State').selectOption('enabled'));
  await page.waitForURL(/state=enabled/);
  await page.goBack();
  await page.waitForURL(/state=disabled/);
  await whole('disabled');
  await page.getByRole('table', { name: 'Integrations' }).getByText('Number 0').waitFor();
  assert.equal(await page.getByText('Number 1').count(), 0);
  await page.goForward();
  await page.waitForURL(/state=enabled/);
  await whole('enabled');

  await page.goto(`${it.list}?limit=2`);
  await after(() => page.getByRole('link', { name: 'Name' }).first().click());
  await page.waitForURL(/order=/);
  await after(() => page.getByRole('link', { name: 'Next page' }).click());
  await page.waitForURL(/cursor=/);
  await page.goBack();
  await page.waitForURL((url) => !url.search.includes('cursor'));
  await whole('');
  assert.deepEqual(page.faults, []);
});

test('a search ignores blanks around it and case in every script, and finds ids', async (t) => {
  const it = await world(t);
  const one = await shareWebhook(it, it.receiver, undefined, { name: 'Датчик Температуры' });
  await shareWebhook(it, it.receiver, undefined, { name: 'service 12' });
  const found = async (search) => {
    await it.page.goto(`${it.list}?search=${encodeURIComponent(search)}`);
    return it.page.locator('td.main a:not(.open)').allTextContents();
  };
  for (const search of ['ТЕМПЕРАТУРЫ', 'температуры', ' датчик ', one.id, one.memberOf(it.products[1])]) assert.deepEqual(await found(search), ['Датчик Температуры'], search);
  for (const search of ['service 12 ', 'SERVICE']) assert.deepEqual(await found(search), ['service 12'], search);
});

test('long names, hosts and events keep their rows, and nothing scrolls sideways', async (t) => {
  const it = await world(t);
  const long = 'a-name-that-somebody-wrote-without-any-blank-in-it-and-that-goes-on-for-ever';
  for (let n = 0; n < 3; n += 1) {
    await shareWebhook(it, it.receiver, undefined, { name: `Ordinary ${n}`, event: 'telemetry/0', url: `https://ingest-${n}.example.com/v2` });
  }
  await shareWebhook(it, it.receiver, undefined, { name: long, event: long.slice(0, 60), url: `https://${long.slice(0, 60)}.example.com/` });
  for (let n = 0; n < 10; n += 1) await newProduct(it.user, it.org);
  await it.user.api.want(201, 'POST', `${it.org.scope}/products`, { product: { name: `Product ${long}` } });
  for (const width of [1440, 1280, 1024, 360]) {
    await it.page.setViewportSize({ width, height: 800 });
    for (const path of [it.list, `/orgs/${it.org.slug}/products`]) {
      await it.page.goto(path);
      await it.page.waitForLoadState('networkidle');
      assert.equal(await scrollsSideways(it.page), false, `${path} at ${width}`);
    }
    await it.page.goto(it.list);
    if (width === 360) continue;
    const rows = await it.page.locator('tbody tr').evaluateAll((all) => all.map((row) => row.getBoundingClientRect().height));
    assert.ok(rows.every((height) => height <= 42), `${width}: ${rows}`);
    const select = await it.page.getByLabel('Product').boundingBox();
    assert.ok(select.width <= 240, `${select.width}`);
    const boxes = await it.page.locator('tbody tr').first().locator('td').evaluateAll((all) => all.map((cell) => {
      if (getComputedStyle(cell).overflowX === 'hidden') return 0; // it ends in an ellipsis
      const inner = [...cell.querySelectorAll('*')].map((one) => one.getBoundingClientRect().right);
      return Math.max(0, ...inner) - cell.getBoundingClientRect().right;
    }));
    assert.ok(boxes.every((over) => over < 1), `nothing runs out of its column at ${width}: ${boxes}`);
  }
});

test('what an integration caused stands below the event that fired it, whichever device sent the same name', async (t) => {
  const it = await world(t);
  const [product] = it.products;
  for (const id of IDS) await it.user.api.want(200, 'POST', `${product.scope}/devices`, { id });
  const slow = await shareWebhook(it, it.receiver, (request) => ({ delay: request.text.includes('"first"') ? 1_500 : 0, status: request.text.includes('"first"') ? 404 : 200 }), { name: 'Lake' });
  const { page } = it;
  await page.goto(`/products/${product.slug}/events`);
  await page.getByText('Live', { exact: true }).waitFor();
  const publish = (id, deviceID) => it.user.api.want(200, 'POST', `${product.scope}/events`, { name: `${slow.event}/x`, data: `{"id":"${id}"}`, ...(deviceID ? { deviceID } : {}) });
  await publish('first');
  await publish('second');
  const rows = live(page, slow.event);
  const [first, second] = ['first', 'second'].map((id) => rows.filter({ hasText: `"id":"${id}"` }));
  await second.getByText('→ Lake').or(second.getByText('✓ Lake')).first().waitFor();
  await first.getByText('✗ Lake').first().waitFor();
  assert.equal(await second.getByText('✗ Lake').count(), 0, 'the failure is not told of the other');
  assert.equal(await rows.count(), 2);

  // The filters narrow both at once, and what an integration caused follows the name of its event.
  await page.getByLabel('Name begins with').fill(slow.event.slice(0, 6));
  await page.waitForURL(/prefix=/);
  await page.getByText('Live', { exact: true }).waitFor();
  await page.waitForResponse((answer) => answer.url().includes(`prefix=${slow.event.slice(0, 6)}`)).catch(() => {});
  await publish('third');
  const third = rows.filter({ hasText: '"id":"third"' });
  await third.getByText(/[→✓] Lake/).first().waitFor();
  await page.getByLabel('Name begins with').fill('another');
  await first.waitFor({ state: 'hidden' });
  assert.deepEqual(page.faults, []);
});

test('an address at which there is nothing is a page for people and JSON for programs', async (t) => {
  const it = await world(t);
  for (const path of ['/nothing', `/orgs/${it.org.slug}/nope`]) {
    assert.equal((await it.page.goto(path)).status(), 404);
    await it.page.getByRole('heading', { name: 'Not found' }).waitFor();
    const answer = await fetch(it.server.base + path);
    assert.equal(answer.status, 404);
    assert.match(answer.headers.get('content-type'), /json/);
  }
});

test('the only owner is named as written, and its role is no choice', async (t) => {
  const it = await world(t);
  await it.page.goto(`/orgs/${it.org.slug}/team`);
  const row = it.page.getByRole('row').filter({ hasText: it.user.username });
  await row.getByText('Change').first().click();
  assert.equal(await row.getByLabel('Role').count(), 0);
  await row.getByRole('button', { name: 'Remove' }).click();
  await it.page.getByRole('alert').getByText(`"${it.user.username}" is the only Administrator (Owner)`).waitFor();
});

test('going back to a version says what changes and which values of products are lost before it does', async (t) => {
  const it = await world(t);
  const shared = await shareWebhook(it, it.receiver);
  const path = `${it.org.scope}/integrations/${shared.id}`;
  const { integration: read } = await it.user.api.want(200, 'GET', path);
  await it.user.api.want(200, 'PUT', path, { ...read, parameters: { REGION: 'eu' }, json: { region: '{{{REGION}}}' } });
  await it.user.api.want(200, 'PUT', `${path}/products/${it.products[1].id}`, { parameters: { REGION: 'us' } });
  await it.page.goto(`${it.list}/${shared.id}/versions`);
  await it.page.locator('details.log').last().click();
  await it.page.getByRole('link', { name: 'Go back to version 1' }).click();
  await it.page.getByText(`The values of ${it.products[1].name} for REGION are lost`).waitFor();
  await it.page.getByRole('heading', { name: 'parameters', exact: false }).first().waitFor();
  assert.equal((await it.user.api.want(200, 'GET', path)).integration.version, 2, 'nothing is done yet');
  await it.page.getByRole('link', { name: 'Stay as it is' }).click();
  await it.page.getByRole('heading', { name: 'Versions of', exact: false }).waitFor();
});

test('the audit names integrations also where a row itself does not, and leads to them', async (t) => {
  const it = await world(t);
  const shared = await shareWebhook(it, it.receiver, undefined, { name: 'Lake', parameters: { REGION: 'eu' } });
  await it.user.api.want(200, 'PUT', `${it.org.scope}/integrations/${shared.id}/products/${it.products[1].id}`, { parameters: { REGION: 'us' } });
  await it.page.goto(`/orgs/${it.org.slug}/audit`);
  const lines = it.page.locator('details.log summary').filter({ hasText: 'override parameters' });
  await lines.filter({ hasText: 'Lake' }).first().click();
  await it.page.getByRole('link', { name: 'Look at Lake' }).first().click();
  await it.page.getByRole('heading', { name: 'Lake' }).waitFor();
});

test('a certificate and a file of credentials are pasted as they are', async (t) => {
  const it = await world(t);
  const { page } = it;
  const creds = '-----BEGIN NATS USER JWT-----\nj.w.t\n------END NATS USER JWT------\n\n-----BEGIN USER NKEY SEED-----\nSUAMK2FG4MI6UE3ACF3FK3OIQBCEIEZV7NSWFFEW63UXMRLFM2XLAXK4GY\n------END USER NKEY SEED------\n';
  for (const [card, fields, area] of [
    ['Nats', { event: 'e', url: 'tls://broker.example', subject: 's' }, ['Credentials file (.creds)', creds]],
    ['Mqtt', { event: 'e', url: 'mqtts://broker.example', topic: 't' }, ['Authorities (PEM)', '-----BEGIN CERTIFICATE-----\nnot one\n-----END CERTIFICATE-----\n']],
  ]) {
    const { id } = await it.user.api.want(201, 'POST', `${it.org.scope}/integrations`, { ...fields, integration_type: card, product_ids: [it.products[0].id] });
    await page.goto(`${it.list}/${id}/edit`);
    const answer = page.waitForResponse((got) => got.url().endsWith('/check'));
    await answer;
    const after = page.waitForResponse((got) => got.url().endsWith('/check'));
    await page.getByLabel(area[0], { exact: true }).fill(area[1]);
    await after;
    await page.waitForLoadState('networkidle');
    const wrong = await page.locator('.wrong').allTextContents();
    assert.ok(!wrong.some((text) => /write name: value/.test(text)), wrong.join());
    if (card === 'Mqtt') assert.match(await page.locator('#wrong-tls').textContent(), /certificate/);
    if (card !== 'Nats') continue;
    await page.getByRole('button', { name: 'Save', exact: true }).last().click();
    await page.getByText('Saved').first().waitFor();
  }
  assert.deepEqual(page.faults, []);
});

test('a name that comes twice in a list, and a field that has a place of its own, are refused and named', async (t) => {
  const it = await world(t);
  const { page } = it;
  const ready = page.waitForResponse((got) => got.url().endsWith('/check'));
  await page.goto(`${it.list}/new/webhook`);
  await ready;
  await page.getByLabel('Headers', { exact: true }).fill('X-Mine: 1\nX-Mine: 2');
  await page.locator('#wrong-headers').getByText('is there already').waitFor();
  await page.getByLabel('Headers', { exact: true }).fill('X-Mine: 1');
  await page.getByLabel('Address', { exact: true }).fill('https://one.example');
  await page.getByText('Extra settings').click();
  await page.getByLabel('Everything else', { exact: true }).fill('{"url": "https://two.example"}');
  await page.locator('#wrong-more').getByText('has a field of its own').waitFor();
  assert.deepEqual(page.faults, []);
});
