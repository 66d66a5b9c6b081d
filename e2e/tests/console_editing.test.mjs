// Writing an integration in the console: what is refused is said, and nothing that was written is lost.
import assert from 'node:assert/strict';
import test from 'node:test';
import { openBrowser, openWindow, signIn } from '../lib/browser.mjs';
import { Receiver } from '../lib/receiver.mjs';
import { Server } from '../lib/server.mjs';
import { shareWebhook, threeProducts } from '../lib/world.mjs';

async function world(t) {
  const server = await Server.start(t);
  const receiver = await Receiver.start(t);
  const browser = await openBrowser(t);
  const it = await threeProducts(server.base);
  const page = await openWindow(browser, server.base);
  await signIn(page, it.user);
  return { server, receiver, browser, page, list: `/orgs/${it.org.slug}/integrations`, ...it };
}

const save = (page, name = 'Save') => page.getByRole('button', { name, exact: true }).last();
const field = (page, label) => page.getByLabel(label, { exact: true });
/** Waits for the next check of the editor's form. */
const checked = (page) => page.waitForResponse((answer) => answer.url().endsWith('/check'));

/** Saves what will be refused, and waits for the page that says so and for the check that follows it. */
async function refused(page, button) {
  const again = page.waitForResponse((answer) => answer.request().method() === 'POST' && answer.status() === 422);
  const after = checked(page);
  await button.click();
  await again;
  await after;
  await page.waitForLoadState('networkidle');
}

test('a refused creation says what is missing, goes on saying it, and leads to it', async (t) => {
  const it = await world(t);
  const { page } = it;
  const fill = { event: 'door', url: it.receiver.url('/door') };
  for (const [missing, place] of [['product', 'product_ids'], ['event', 'event'], ['url', 'url']]) {
    await page.goto(`${it.list}/new/webhook`);
    if (missing !== 'product') await page.getByLabel(it.products[0].name, { exact: false }).check();
    for (const [name, value] of Object.entries(fill)) if (name !== missing) await page.locator(`#f-${name}`).fill(value);
    await refused(page, save(page, 'Create'));
    await page.getByRole('alert').getByText('One thing is to be put right').waitFor();
    assert.match(await page.locator(`#wrong-${place}`).textContent(), /\w/, missing);
    assert.equal(await page.evaluate(() => document.activeElement.closest('fieldset, .field')?.querySelector('.wrong')?.id), `wrong-${place}`, 'the first wrong field is ready for typing');
  }
  // Once it is right it is no longer marked, while other things still are missing.
  const after = checked(page);
  await page.locator('#f-url').fill(fill.url);
  await after;
  await page.locator('#wrong-url:empty').waitFor({ state: 'attached' });
  await page.locator('#f-url:not([aria-invalid])').waitFor();
  await save(page, 'Create').click();
  await page.getByText('The integration is created').waitFor();
  assert.deepEqual(page.faults, []);
});

test('a refused save of a shared integration still says whom it reaches and what is wrong, also when nothing can be read', async (t) => {
  const it = await world(t);
  const shared = await shareWebhook(it, it.receiver, undefined, { name: 'Alerts' });
  const { page } = it;
  await page.goto(`${it.list}/${shared.id}/edit`);
  for (const product of it.products) await page.getByLabel(product.name, { exact: false }).uncheck();
  await refused(page, save(page));
  await page.getByText('Shared by 3 products').waitFor();
  assert.match(await page.locator('#wrong-product_ids').textContent(), /List the products/);

  await page.goto(`${it.list}/${shared.id}/edit`);
  await page.getByRole('button', { name: 'Custom template (JSON)' }).click();
  await page.getByLabel('Configuration', { exact: true }).fill('{"event": ');
  await page.getByRole('button', { name: 'Builder' }).click();
  await page.getByRole('alert').getByText('opens once what is marked can be read').waitFor();
  await refused(page, save(page));
  await page.getByRole('heading', { name: 'Edit Alerts' }).waitFor();
  await page.getByText('Shared by 3 products').waitFor();
  assert.match(await page.locator('#wrong-config').textContent(), /not JSON/);
  assert.equal(await page.getByLabel('Configuration', { exact: true }).inputValue(), '{"event": ');
  assert.deepEqual(page.faults, []);
});

test('going back after the other tab, a refused save and a save asks nothing and shows a page', async (t) => {
  const it = await world(t);
  const { page } = it;
  await page.goto(it.list);
  await page.goto(`${it.list}/new/webhook`);
  await page.getByRole('button', { name: 'Custom template (JSON)' }).click();
  await page.getByLabel('Configuration', { exact: true }).waitFor();
  await page.getByRole('button', { name: 'Builder' }).click();
  await page.locator('#f-event').waitFor();
  await refused(page, save(page, 'Create'));
  assert.match(page.url(), /\/new\/webhook$/, 'the address is still that of the form');
  page.on('dialog', (dialog) => dialog.accept());
  await page.reload();
  await page.getByRole('heading', { name: 'New integration' }).waitFor();
  await page.goBack();
  await page.getByRole('heading', { name: 'Integrations', exact: true }).waitFor();
  assert.equal(new URL(page.url()).pathname, it.list);
  assert.deepEqual(page.faults, []);
});

test('of two who edit one integration, the second is told what the first did, and loses neither', async (t) => {
  const it = await world(t);
  const shared = await shareWebhook(it, it.receiver, undefined, { name: 'Before' });
  const path = `${it.list}/${shared.id}/edit`;
  const [one, other] = [it.page, await it.page.context().newPage()];
  const open = async (page) => { const after = checked(page); await page.goto(path); await after; };
  const stored = async () => (await it.user.api.want(200, 'GET', `${it.org.scope}/integrations/${shared.id}`)).integration;
  await open(other);
  await open(one);
  await field(one, 'Name').fill('By the first');
  await one.getByLabel(it.products[2].name, { exact: false }).uncheck();
  await save(one).click();
  await one.getByText('Saved for all products').waitFor();

  await field(other, 'Event').fill('by/the/second');
  await refused(other, save(other));
  await other.getByText(`version 2 by ${it.user.username}`).waitFor();
  await other.getByText('It executes on other products now').waitFor();
  assert.equal((await stored()).event, shared.event, 'nothing is saved yet');
  await other.getByRole('button', { name: 'Take over their changes' }).click();
  await other.locator('#f-name[value="By the first"]').waitFor();
  assert.equal(await field(other, 'Event').inputValue(), 'by/the/second');
  assert.equal(await other.getByLabel(it.products[2].name, { exact: false }).isChecked(), false);
  await save(other).click();
  await other.getByText('Saved').first().waitFor();
  const both = await stored();
  assert.deepEqual([both.name, both.event, both.product_ids.length], ['By the first', 'by/the/second', 2]);

  await open(one);
  await open(other);
  await field(one, 'Name').fill('First again');
  await save(one).click();
  await one.getByText('Saved').first().waitFor();
  await field(other, 'Name').fill('Second again');
  await refused(other, save(other));
  await other.getByRole('button', { name: 'Save mine anyway' }).click();
  await other.getByRole('heading', { name: 'Second again', exact: true }).waitFor();
  assert.equal((await stored()).name, 'Second again');
});

test('a list of products that changed alone is no reason to lose it', async (t) => {
  const it = await world(t);
  const shared = await shareWebhook(it, it.receiver);
  const { page } = it;
  const after = checked(page);
  await page.goto(`${it.list}/${shared.id}/edit`);
  await after;
  await it.user.api.want(204, 'DELETE', `${it.org.scope}/integrations/${shared.id}/products/${it.products[1].id}`);
  await field(page, 'Name').fill('Another');
  await refused(page, save(page));
  await page.getByText('It executes on other products now').waitFor();
  await page.getByRole('button', { name: 'Take over their changes' }).click();
  await page.getByRole('alert').waitFor({ state: 'detached' });
  await save(page).click();
  await page.getByRole('heading', { name: 'Another', exact: true }).waitFor();
  const { integration } = await it.user.api.want(200, 'GET', `${it.org.scope}/integrations/${shared.id}`);
  assert.deepEqual(integration.product_ids, [it.products[0].id, it.products[2].id]);
});

test('over the API a write over a newer version is refused where the caller says what it read', async (t) => {
  const { user, org, products, receiver } = await world(t);
  const { id } = await shareWebhook({ user, org, products }, receiver);
  const path = `${org.scope}/integrations/${id}`;
  const { integration: read } = await user.api.want(200, 'GET', path);
  const put = (json, headers) => user.api.req('PUT', path, { json, headers });
  const status = async (json, headers) => (await put(json, headers)).status;
  assert.equal(read.version, 1);
  assert.equal(await status({ ...read, name: 'two' }), 200);
  const late = await put({ ...read, name: 'late' });
  assert.deepEqual([late.status, late.body.error], [409, 'not_the_present_version']);
  const { version, ...rest } = read;
  assert.equal(await status({ ...rest, name: 'late' }, { 'if-match': `"${version}"` }), 412);
  assert.equal(await status({ ...rest, name: 'three' }, { 'if-match': '"2"' }), 200);
  assert.equal(await status({ ...rest, name: 'four' }, { 'if-match': '*' }), 200);
  assert.equal(await status({ ...rest, name: 'five' }), 200, 'who says nothing writes as before');
  assert.equal(await status({ ...rest, version: 'x' }), 400);
  const at = await user.api.want(200, 'GET', path);
  const all = await Promise.all(Array.from({ length: 20 }, (_, n) => status({ ...rest, name: `of ${n}`, version: at.integration.version })));
  assert.deepEqual(all.sort().slice(0, 2), [200, 409], 'of many at once one wins');
});

test('a save while the server is away keeps what was written and is sent again by a button', async (t) => {
  const it = await world(t);
  const shared = await shareWebhook(it, it.receiver);
  const { page } = it;
  const after = checked(page);
  await page.goto(`${it.list}/${shared.id}/edit`);
  await after;
  await field(page, 'Name').fill('Written meanwhile');
  await page.waitForLoadState('networkidle');
  await it.server.kill('SIGTERM');
  await save(page).click();
  await page.getByText('The server cannot be reached. Nothing is saved').waitFor();
  assert.equal(await field(page, 'Name').inputValue(), 'Written meanwhile');
  await it.server.restart();
  await page.getByRole('button', { name: 'Try again' }).click();
  await page.getByRole('heading', { name: 'Written meanwhile', exact: true }).waitFor();
});

test('a sign-in that ended while a script was there loses nothing either', async (t) => {
  const it = await world(t);
  const shared = await shareWebhook(it, it.receiver);
  const { page } = it;
  const after = checked(page);
  await page.goto(`${it.list}/${shared.id}/edit`);
  await after;
  await field(page, 'Name').fill('Written before');
  await page.waitForLoadState('networkidle');
  await page.context().clearCookies();
  await save(page).click();
  await page.getByText('What you wrote is kept').waitFor();
  await page.getByLabel('User name').fill(it.user.username);
  await page.getByLabel('Password').fill(it.user.password);
  await page.getByRole('button', { name: 'Sign in' }).click();
  await page.getByRole('button', { name: 'Send it now' }).click();
  await page.getByRole('heading', { name: 'Written before', exact: true }).waitFor();
});

test('the preview follows its own fields, also before any event came', async (t) => {
  const it = await world(t);
  const { page } = it;
  const after = checked(page);
  await page.goto(`${it.list}/new/webhook`);
  await after;
  await page.getByLabel(it.products[0].name, { exact: false }).check();
  await field(page, 'Event').fill('door/');
  await field(page, 'Address').fill(it.receiver.url('/door'));
  await page.locator('#preview').getByText('No event came yet, so this is for the sample event').waitFor();
  await page.locator('#preview pre').getByText('temperature').first().waitFor();
  await page.getByLabel('For', { exact: true }).selectOption('sample');
  await field(page, 'Event name').fill('door/front');
  await page.locator('#preview .mono').getByText('door/front').first().waitFor();
  await page.locator('[name=sample_data]').fill('{"open":true}');
  await page.locator('#preview pre').getByText('open').first().waitFor();
  await page.locator('#preview').getByText('Sent for the sample event').waitFor();
  await field(page, 'Event name').fill('window');
  await page.locator('#preview').getByText('does not begin with').waitFor();
  assert.deepEqual(page.faults, []);
});

test('a change of the name alone is recorded as that', async (t) => {
  const it = await world(t);
  const shared = await shareWebhook(it, it.receiver);
  const { page } = it;
  const after = checked(page);
  await page.goto(`${it.list}/${shared.id}/edit`);
  await after;
  await field(page, 'Name').fill('Only this');
  await save(page).click();
  await page.getByRole('heading', { name: 'Only this', exact: true }).waitFor();
  const { versions } = await it.user.api.want(200, 'GET', `${it.org.scope}/integrations/${shared.id}/versions`);
  assert.deepEqual(versions[0].changes.map((change) => change.field), ['name']);
});
