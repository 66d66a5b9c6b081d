// The console in a real browser: what a person does with organization integrations.
import assert from 'node:assert/strict';
import test from 'node:test';
import { openBrowser, openWindow, scrollsSideways, seriousFaults, signIn } from '../lib/browser.mjs';
import { Receiver } from '../lib/receiver.mjs';
import { Server } from '../lib/server.mjs';
import { eventually } from '../lib/wait.mjs';
import { newUser, shareWebhook, threeProducts, unique } from '../lib/world.mjs';

const HTML = '<img src=x onerror="document.title=1">';

async function world(t) {
  const server = await Server.start(t);
  const receiver = await Receiver.start(t);
  const browser = await openBrowser(t);
  const it = await threeProducts(server.base);
  return { server, receiver, browser, ...it };
}

const list = ({ org }) => `/orgs/${org.slug}/integrations`;

test('a shared integration is edited for all its products, and one of them separates once something differs', async (t) => {
  const it = await world(t);
  const shared = await shareWebhook(it, it.receiver);
  const page = await openWindow(it.browser, it.server.base);
  await signIn(page, it.user);

  await page.goto(`${list(it)}/${shared.id}`);
  await page.getByText('Shared by 3 products').waitFor();
  await page.getByRole('link', { name: 'Edit', exact: true }).click();
  await page.getByText('Nothing is changed yet.').waitFor();
  await page.getByLabel('Address').fill(it.receiver.url('/moved'));
  await page.getByText('Changed: url.').waitFor();
  await page.getByRole('button', { name: 'Save', exact: true }).last().click();
  await page.getByText('Saved for all products').waitFor();
  for (const product of it.products) {
    await it.user.api.want(200, 'POST', `${product.scope}/events`, { name: shared.event, data: '{"id":1}' });
  }
  await it.receiver.waitFor('/moved', 3);

  const [leaving] = it.products;
  await page.goto(`/products/${leaving.slug}/integrations`);
  await page.getByRole('link', { name: shared.event, exact: false }).last().click();
  await page.getByRole('link', { name: 'Separate integration' }).click();
  await page.getByText('Changed: nothing yet.').waitFor();
  const save = page.getByRole('button', { name: 'Save', exact: true }).last();
  assert.equal(await save.isDisabled(), true, 'nothing differs from the shared one yet');
  await page.getByLabel('Name', { exact: true }).fill('Its own');
  await page.getByText('Changed: name.').waitFor();
  await save.click();
  await page.getByText('This product has its own integration now').waitFor();
  await page.getByRole('heading', { name: 'Its own' }).waitFor();

  await page.goto(list(it));
  const table = page.getByRole('table', { name: 'Integrations' });
  await table.getByRole('link', { name: 'Its own', exact: true }).waitFor();
  await table.getByText('2 products').waitFor();
  assert.deepEqual(page.faults, []);
});

test('the requests of a preview are those that are sent', async (t) => {
  const it = await world(t);
  const shared = await shareWebhook(it, it.receiver);
  const page = await openWindow(it.browser, it.server.base);
  await signIn(page, it.user);
  await it.user.api.want(200, 'POST', `${it.products[0].scope}/events`, { name: shared.event, data: '{"id":"first"}' });
  await it.receiver.waitFor(shared.path, 1);
  await page.goto(`${list(it)}/${shared.id}/edit`);
  await page.getByLabel('JSON', { exact: true }).fill('{"reading":"{{{id}}}","n":5}');
  const shown = page.locator('#preview pre').first();
  await eventually(async () => assert.match(await shown.textContent(), /"n":5/), { within: 10_000, every: 100 });
  const body = (await shown.textContent()).split('\n\n')[1];
  await page.getByRole('button', { name: 'Save', exact: true }).last().click();
  await page.getByText('Saved for all products').waitFor();
  await it.user.api.want(200, 'POST', `${it.products[0].scope}/events`, { name: shared.event, data: '{"id":"first"}' });
  const [, second] = await it.receiver.waitFor(shared.path, 2);
  assert.equal(body, second.text);
  assert.deepEqual(page.faults, []);
});

test('switching between builder and JSON keeps everything, also what was refused', async (t) => {
  const it = await world(t);
  const page = await openWindow(it.browser, it.server.base);
  await signIn(page, it.user);
  await page.goto(`${list(it)}/new/webhook`);
  await page.getByLabel(it.products[0].name, { exact: false }).check();
  await page.getByLabel('Event', { exact: true }).fill('kept/');
  await page.getByLabel('Address').fill('not an address');
  await page.getByLabel('Headers').fill('X-Mine: {{{PARTICLE_DEVICE_ID}}}');
  await page.getByRole('button', { name: 'Custom template (JSON)' }).click();
  const config = page.getByLabel('Configuration', { exact: true });
  const written = JSON.parse(await config.inputValue());
  assert.deepEqual(written.headers, { 'X-Mine': '{{{PARTICLE_DEVICE_ID}}}' });
  await config.fill(JSON.stringify({ ...written, mine: { unknown: [1, 2] } }));
  await page.getByRole('button', { name: 'Builder' }).click();
  assert.match(await page.locator('#f-more').inputValue(), /"unknown"/);
  await page.getByRole('button', { name: 'Create', exact: true }).last().click();
  await page.locator('#wrong-url').getByText('address', { exact: false }).waitFor();
  assert.equal(await page.getByLabel('Event', { exact: true }).inputValue(), 'kept/');
  assert.equal(await page.getByLabel(it.products[0].name, { exact: false }).isChecked(), true);
  await page.getByLabel('Address').fill(it.receiver.url('/kept'));
  await page.getByRole('button', { name: 'Create', exact: true }).last().click();
  await page.getByText('The integration is created').waitFor();
  const [made] = await it.user.api.want(200, 'GET', `${it.org.scope}/integrations`);
  assert.deepEqual([made.event, made.mine, made.product_ids], ['kept/', { unknown: [1, 2] }, [it.products[0].id]]);
  assert.deepEqual(page.faults, []);
});

test('without JavaScript an integration is listed, created, edited and separated', async (t) => {
  const it = await world(t);
  const page = await openWindow(it.browser, it.server.base, { javaScriptEnabled: false });
  await signIn(page, it.user);
  await page.goto(`${list(it)}/new/webhook`);
  for (const product of it.products) await page.getByLabel(product.name, { exact: false }).check();
  await page.getByLabel('Name', { exact: true }).fill('Plain');
  await page.getByLabel('Event', { exact: true }).fill('plain');
  await page.getByLabel('Address').fill(it.receiver.url('/plain'));
  await page.getByRole('button', { name: 'Create', exact: true }).last().click();
  await page.getByText('Shared by 3 products').waitFor();
  await page.getByRole('link', { name: 'Edit', exact: true }).click();
  await page.getByLabel('Name', { exact: true }).fill('Plainer');
  await page.getByRole('button', { name: 'Save', exact: true }).last().click();
  await page.getByRole('heading', { name: 'Plainer' }).waitFor();
  await page.goto(`/products/${it.products[1].slug}/integrations`);
  await page.getByRole('link', { name: 'Plainer', exact: true }).click();
  await page.getByRole('link', { name: 'Separate integration' }).click();
  await page.getByRole('button', { name: 'Save', exact: true }).last().click();
  await page.getByText('change at least one field', { exact: false }).waitFor();
  await page.getByLabel('Name', { exact: true }).fill('Apart');
  await page.getByRole('button', { name: 'Save', exact: true }).last().click();
  await page.getByRole('heading', { name: 'Apart' }).waitFor();
  await page.goto(`${list(it)}?search=apart`);
  assert.equal(await page.getByRole('link', { name: 'Apart', exact: true }).count(), 1);
  assert.equal(await page.getByRole('link', { name: 'Plainer', exact: true }).count(), 0);
});

test('a view-only member sees no write controls and is refused by the server too', async (t) => {
  const it = await world(t);
  const shared = await shareWebhook(it, it.receiver);
  const guest = await newUser(it.server.base);
  await it.user.api.want(201, 'POST', `${it.org.scope}/team`, { username: guest.username, role: 'View-only' });
  const page = await openWindow(it.browser, it.server.base);
  await signIn(page, guest);
  const paths = [list(it), `${list(it)}/${shared.id}`, `/products/${it.products[0].slug}/integrations/${shared.memberOf(it.products[0])}`];
  for (const path of paths) {
    await page.goto(path);
    await page.getByText('View-only').first().waitFor();
    for (const name of ['New integration', 'Edit', 'Delete', 'Disable', 'Separate integration', 'Send a test']) {
      assert.equal(await page.getByRole('link', { name, exact: true }).count(), 0, `${name} on ${path}`);
      assert.equal(await page.getByRole('button', { name, exact: true }).count(), 0, `${name} on ${path}`);
    }
  }
  const csrf = await page.locator('form[action="/sign-out"] [name=csrf]').inputValue();
  for (const [path, form] of [['/delete', { name: shared.event }], ['/state', { state: 'disabled' }], ['/edit', { event: 'x' }]]) {
    const answer = await page.request.post(`${it.server.base}${list(it)}/${shared.id}${path}`, { form: { csrf, ...form } });
    assert.equal(answer.status(), 403, path);
  }
  const still = await it.user.api.want(200, 'GET', `${it.org.scope}/integrations/${shared.id}`);
  assert.equal(still.integration.event, shared.event);
  assert.notEqual(still.integration.disabled, true);
});

test('a form that no page of this sign-in made changes nothing', async (t) => {
  const it = await world(t);
  const shared = await shareWebhook(it, it.receiver);
  const page = await openWindow(it.browser, it.server.base);
  await signIn(page, it.user);
  for (const form of [{}, { csrf: 'guessed' }]) {
    const answer = await page.request.post(`${it.server.base}${list(it)}/${shared.id}/delete`, { form: { name: shared.event, ...form } });
    assert.equal(answer.status(), 403);
  }
  await it.user.api.want(200, 'GET', `${it.org.scope}/integrations/${shared.id}`);
  const cookies = await page.context().cookies();
  assert.deepEqual(cookies.map(({ httpOnly, sameSite }) => [httpOnly, sameSite]), [[true, 'Lax']]);
});

test('what users write is shown as it is and never becomes part of a page', async (t) => {
  const it = await world(t);
  const event = `${HTML}${unique()}`;
  const shared = await shareWebhook(it, it.receiver, { status: 500, body: HTML }, { name: HTML, event, json: { a: HTML } });
  await it.user.api.want(200, 'POST', `${it.products[0].scope}/events`, { name: event, data: HTML });
  await it.receiver.waitFor(shared.path, 1);
  const page = await openWindow(it.browser, it.server.base);
  await signIn(page, it.user);
  for (const path of ['', `/${shared.id}`, `/${shared.id}/edit`, `/${shared.id}/delete`]) {
    await page.goto(list(it) + path);
    await page.waitForLoadState('networkidle');
    assert.equal(await page.locator('img').count(), 0, path);
    assert.notEqual(await page.title(), '1');
  }
  assert.deepEqual(page.faults, []);
});

test('every page of integrations is fit for a keyboard, a screen reader and a narrow window, light and dark', async (t) => {
  const it = await world(t);
  const shared = await shareWebhook(it, it.receiver);
  for (let n = 0; n < 3; n += 1) {
    await it.user.api.want(200, 'POST', `${it.products[n].scope}/events`, { name: shared.event, data: `{"id":${n}}` });
  }
  await it.receiver.waitFor(shared.path, 3);
  const member = `/products/${it.products[0].slug}/integrations/${shared.memberOf(it.products[0])}`;
  const paths = [list(it), `${list(it)}/${shared.id}`, `${list(it)}/${shared.id}/edit`, `${list(it)}/${shared.id}/delete`, `${list(it)}/new`,
    `${list(it)}/new/webhook`, member, `${member}/separate`, '/sandbox/integrations'];
  for (const [colorScheme, width] of [['light', 1280], ['dark', 1280], ['light', 360]]) {
    const page = await openWindow(it.browser, it.server.base, { colorScheme, viewport: { width, height: 800 } });
    await page.goto('/sign-in');
    assert.deepEqual(await seriousFaults(page), [], '/sign-in');
    await signIn(page, it.user);
    for (const path of paths) {
      await page.goto(path);
      await page.waitForLoadState('networkidle');
      assert.deepEqual(await seriousFaults(page), [], `${path} ${colorScheme} ${width}`);
      assert.equal(await scrollsSideways(page), false, `${path} at ${width}`);
    }
    assert.deepEqual(page.faults, []);
    await page.context().close();
  }
});

test('a sign-in that ended in the middle of writing loses nothing that was written', async (t) => {
  const it = await world(t);
  const shared = await shareWebhook(it, it.receiver);
  const page = await openWindow(it.browser, it.server.base, { javaScriptEnabled: false });
  await signIn(page, it.user);
  await page.goto(`${list(it)}/${shared.id}/edit`);
  await page.getByLabel('Name', { exact: true }).fill('Written before');
  await page.context().clearCookies();
  await page.getByRole('button', { name: 'Save', exact: true }).last().click();
  await page.getByText('What you wrote is kept').waitFor();
  await page.getByLabel('User name').fill(it.user.username);
  await page.getByLabel('Password').fill(it.user.password);
  await page.getByRole('button', { name: 'Sign in' }).click();
  await page.getByRole('button', { name: 'Send it now' }).click();
  await page.getByRole('heading', { name: 'Written before' }).waitFor();
});

test('the first page weighs less than 100 KB in all', async (t) => {
  const it = await world(t);
  await shareWebhook(it, it.receiver);
  const page = await openWindow(it.browser, it.server.base);
  await signIn(page, it.user);
  const fresh = await openWindow(it.browser, it.server.base);
  await fresh.context().addCookies(await page.context().cookies());
  const answers = [];
  fresh.on('response', (response) => answers.push(response));
  await fresh.goto(list(it), { waitUntil: 'networkidle' });
  const sizes = await Promise.all(answers.map(async (response) => (await response.body()).length));
  const bytes = sizes.reduce((sum, size) => sum + size, 0);
  assert.ok(bytes > 10_000 && bytes < 100_000, `${bytes} bytes`);
});
