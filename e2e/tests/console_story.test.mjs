// A new server, from its first page to a product that goes its own way: all of it through the console.
import assert from 'node:assert/strict';
import test from 'node:test';
import { openBrowser, openWindow } from '../lib/browser.mjs';
import { Receiver } from '../lib/receiver.mjs';
import { Server } from '../lib/server.mjs';
import { eventually } from '../lib/wait.mjs';

const OWNER = { username: 'first@example.com', password: 'a long enough password' };
const PRODUCTS = ['Tracker', 'Logger', 'Pump'];

const save = (page) => page.getByRole('button', { name: 'Save', exact: true }).last();
const integrations = (page) => page.getByRole('link', { name: 'Integrations', exact: true }).first();

async function welcome(page) {
  await page.goto('/');
  await page.getByRole('heading', { name: 'Welcome' }).waitFor();
  await page.getByLabel('User name').fill(OWNER.username);
  await page.getByLabel('Password').fill(OWNER.password);
  await page.getByRole('button', { name: 'Create the account' }).click();
  await page.getByLabel('Organization name').fill('Acme');
  await page.getByLabel('Plan').selectOption('enterprise');
  await page.getByRole('button', { name: 'Create the organization' }).click();
}

async function createProducts(page) {
  for (const name of PRODUCTS) {
    await page.getByLabel('Name', { exact: true }).fill(name);
    await page.getByRole('button', { name: 'Create the product' }).click();
    await page.getByRole('table', { name: 'Products' }).getByRole('link', { name, exact: true }).waitFor();
  }
}

async function shareFromGallery(page, url) {
  await integrations(page).click();
  await page.getByRole('link', { name: 'Choose one from the gallery' }).click();
  await page.getByRole('searchbox', { name: 'Search services' }).fill('n8n');
  await page.getByRole('button', { name: 'Search' }).click();
  await page.getByRole('link', { name: 'n8n' }).click();
  await page.getByLabel('Production URL').fill(url);
  await page.getByLabel('Token', { exact: true }).fill('s3cret-token');
  await page.getByRole('button', { name: 'Go on' }).click();
  await page.getByLabel('Select all present products', { exact: false }).check();
  await page.getByLabel('Name', { exact: true }).fill('Alerts');
  await page.getByLabel('Event', { exact: true }).fill('alert');
  await page.getByRole('button', { name: 'Create', exact: true }).last().click();
  await page.getByText('Shared by 3 products').waitFor();
}

/** Publishes in one product, or in all when none is named, and sees the event arrive. */
async function publish(page, name, product) {
  await page.getByRole('link', { name: 'Events', exact: true }).first().click();
  await page.getByText('Live', { exact: true }).waitFor();
  if (product) await page.locator('#publish').getByRole('combobox').selectOption({ label: product });
  await page.locator('#publish').getByLabel('Name', { exact: true }).fill(name);
  await page.getByRole('button', { name: 'Publish', exact: true }).click();
  await page.getByRole('log').getByText(name, { exact: true }).first().waitFor();
}

/** The figures of the list's row, as a person reads them: success, error, skipped. */
const figures = (page, name) => page.getByRole('row').filter({ has: page.getByRole('link', { name, exact: true }) }).locator('td.num').allTextContents();

/** What the view says of each product: `{name: successes}`. */
async function successesByProduct(page) {
  const cards = await page.locator('.per-product .card').all();
  const pairs = cards.map(async (card) => [await card.getByRole('heading').innerText(), Number(await card.locator('b').first().innerText())]);
  return Object.fromEntries(await Promise.all(pairs));
}

test('first run, organization, three products, a webhook from the gallery, events, figures, an edit for all, and a separation', async (t) => {
  const server = await Server.start(t);
  const receiver = await Receiver.start(t);
  const page = await openWindow(await openBrowser(t), server.base);
  await welcome(page);
  await createProducts(page);
  await shareFromGallery(page, receiver.url('/alerts'));

  await publish(page, 'alert/door');
  await publish(page, 'alert/water', 'Pump');
  const got = await receiver.waitFor('/alerts', 4);
  assert.deepEqual(new Set(got.map(({ headers }) => headers['x-webhook-token'])), new Set(['s3cret-token']));

  await eventually(async () => {
    await integrations(page).click();
    await page.getByRole('link', { name: 'Alerts', exact: true }).waitFor();
    assert.deepEqual(await figures(page, 'Alerts'), ['4', '0', '0']);
  }, { within: 10_000, every: 200 });
  await page.getByRole('link', { name: 'Alerts', exact: true }).click();
  await page.getByText('4 success').first().waitFor();
  assert.deepEqual(await successesByProduct(page), { Tracker: 1, Logger: 1, Pump: 2 });
  assert.doesNotMatch(await page.content(), /s3cret-token/);

  await page.getByRole('link', { name: 'Edit', exact: true }).click();
  await page.getByLabel('Method').selectOption('PUT');
  await save(page).click();
  await page.getByText('Saved for all products').waitFor();
  await publish(page, 'alert/door');
  const all = await receiver.waitFor('/alerts', 7);
  assert.deepEqual(all.map(({ method }) => method), ['POST', 'POST', 'POST', 'POST', 'PUT', 'PUT', 'PUT']);
  assert.deepEqual(new Set(all.map(({ headers }) => headers['x-webhook-token'])), new Set(['s3cret-token']), 'what is masked was kept');

  await page.getByRole('link', { name: 'Products', exact: true }).first().click();
  await page.getByRole('table', { name: 'Products' }).getByRole('link', { name: 'Pump', exact: true }).click();
  await page.getByRole('link', { name: 'Alerts', exact: true }).click();
  await page.getByText('This integration is shared with Tracker, Logger').waitFor();
  await page.getByRole('link', { name: 'Separate integration' }).click();
  await page.getByText('Changed: nothing yet.').waitFor();
  assert.equal(await save(page).isDisabled(), true);
  await page.getByLabel('Name', { exact: true }).fill('Pump alerts');
  await page.getByText('Changed: name.').waitFor();
  await save(page).click();
  await page.getByText('This product has its own integration now').waitFor();

  await eventually(async () => {
    await integrations(page).click();
    await page.getByRole('table', { name: 'Integrations' }).getByRole('link', { name: 'Pump alerts', exact: true }).waitFor();
    await page.getByText('identical', { exact: false }).first().waitFor();
    assert.deepEqual([await figures(page, 'Alerts'), await figures(page, 'Pump alerts')], [['7', '0', '0'], ['0', '0', '0']], 'a sum never falls');
  }, { within: 10_000, every: 200 });
  await page.getByRole('link', { name: 'Products', exact: true }).first().click();
  await page.getByRole('table', { name: 'Products' }).getByRole('link', { name: 'Pump', exact: true }).click();
  await page.getByRole('table', { name: 'Integrations' }).waitFor();
  assert.deepEqual(await figures(page, 'Pump alerts'), ['3', '0', '0'], 'the product keeps its history');
  assert.deepEqual(page.faults, []);
});
