// The pages around integrations: products, devices, events, team, secrets, audit, settings, versions and parameters.
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
  const page = await openWindow(browser, server.base);
  await signIn(page, it.user);
  return { server, receiver, browser, page, org: it.org, products: it.products, user: it.user };
}

const parts = ({ org, products: [product] }) => [
  ...['products', 'events', 'team', 'secrets', 'audit', 'settings'].map((part) => `/orgs/${org.slug}/${part}`),
  ...['products', 'devices', 'events', 'secrets', 'audit', 'settings'].map((part) => `/sandbox/${part}`),
  ...['devices', 'events', 'team', 'delete'].map((part) => `/products/${product.slug}/${part}`),
];

const row = (page, text) => page.getByRole('row').filter({ hasText: text });

test('every other page is fit for a keyboard, a screen reader and a narrow window, light and dark', async (t) => {
  const it = await world(t);
  const shared = await shareWebhook(it, it.receiver, undefined, { parameters: { SITE: 'eu' } });
  await it.user.api.want(201, 'POST', `${it.org.scope}/secrets`, { secret: { name: 'KEY', value: 'hidden' } });
  await it.user.api.want(200, 'POST', `${it.products[0].scope}/devices`, { id: '0123456789abcdef01234567' });
  await it.user.api.want(201, 'POST', `${it.org.scope}/team`, { friendly_name: 'Importer', scopes: ['integrations:list'] });
  const own = `/orgs/${it.org.slug}/integrations/${shared.id}`;
  const paths = [...parts(it), `${own}/versions`, `${own}/redelivery`, own, `/orgs/${it.org.slug}/integrations/new/slack`];
  for (const [colorScheme, width] of [['light', 1280], ['dark', 1280], ['light', 360]]) {
    const page = await openWindow(it.browser, it.server.base, { colorScheme, viewport: { width, height: 800 } });
    await signIn(page, it.user);
    for (const path of paths) {
      const answer = await page.goto(path);
      assert.equal(answer.status(), 200, path);
      await page.waitForLoadState('load');
      assert.deepEqual(await seriousFaults(page), [], `${path} ${colorScheme} ${width}`);
      assert.equal(await scrollsSideways(page), false, `${path} at ${width}`);
    }
    assert.deepEqual(page.faults, []);
    await page.context().close();
  }
});

test('the form of every kind has the places in which its check says what is wrong', async (t) => {
  const { page, user, org, products: [product] } = await world(t);
  const SECRET = 'k3y-of-nobody';
  const key = { access_key_id: 'AKIAX', secret_access_key: SECRET };
  const login = { username: 'u', password: SECRET };
  for (const config of [
    { integration_type: 'GoogleMaps', api_key: SECRET },
    { integration_type: 'AzureIotHub', hub_name: 'my-hub', policy_name: 'iothubowner', policy_key: btoa(SECRET) },
    { integration_type: 'GoogleCloudPubSub', topic: 'p1/doors' },
    { integration_type: 'Mqtt', url: 'mqtts://broker.example', topic: 'doors', ...login },
    { integration_type: 'Nats', url: 'tls://broker.example', subject: 'doors', ...login },
    { integration_type: 'Postgres', url: 'postgres://db.example', database: 'iot', table: 'doors', columns: { v: '{{v}}' }, ...login },
    { integration_type: 'Amqp', url: 'amqps://broker.example', exchange: 'doors', ...login },
    { integration_type: 'Kafka', brokers: 'broker.example:9092', topic: 'doors', sasl: 'PLAIN', ...login },
    { integration_type: 'AwsSqs', queue_url: 'https://sqs.eu-west-1.amazonaws.com/1/doors', ...key },
    { integration_type: 'AwsKinesis', stream: 'doors', region: 'eu-west-1', ...key },
    { integration_type: 'AwsEventBridge', region: 'eu-west-1', ...key },
  ]) {
    const body = { event: 'door', ...config, product_ids: [product.id] };
    const { id } = await user.api.want(201, 'POST', `${org.scope}/integrations`, body);
    const checked = page.waitForResponse((answer) => answer.url().endsWith('/check'));
    await page.goto(`/orgs/${org.slug}/integrations/${id}/edit`);
    assert.equal((await checked).status(), 200, config.integration_type);
    await page.waitForLoadState('networkidle');
    assert.deepEqual([page.faults, await scrollsSideways(page)], [[], false], config.integration_type);
    const content = await page.content();
    assert.ok(![SECRET, btoa(SECRET)].some((secret) => content.includes(secret)), `${config.integration_type}: no credential is shown`);
  }
});

test('names, payloads and notes with markup in them are shown as text on every page', async (t) => {
  const { page, user, org, products: [product], server, ...it } = await world(t);
  const device = '0123456789abcdef01234567';
  await user.api.want(200, 'POST', `${product.scope}/devices`, { id: device });
  await user.api.want(200, 'PUT', `${product.scope}/devices/${device}`, { name: 'n', notes: HTML });
  await user.api.want(200, 'PUT', org.scope, { name: HTML });
  await user.api.want(201, 'POST', `${org.scope}/products`, { product: { name: `${HTML}x`, description: HTML } });
  await user.api.want(201, 'POST', `${org.scope}/team`, { friendly_name: HTML, scopes: ['integrations:list'] });
  const { organization } = await user.api.want(200, 'GET', org.scope);
  for (const path of parts({ org: organization, products: [product] })) {
    await page.goto(path);
    await page.waitForLoadState('load');
    assert.equal(await page.locator('img').count(), 0, path);
  }
  await page.goto(`/products/${product.slug}/events`);
  await page.getByText('Live', { exact: true }).waitFor();
  await user.api.want(200, 'POST', `${product.scope}/events`, { name: HTML, data: HTML });
  await page.getByRole('log').getByText(HTML).first().waitFor();
  assert.equal(await page.locator('img').count(), 0);
  assert.notEqual(await page.title(), '1');
  assert.deepEqual([page.faults, it.products], [[], undefined]);
});

test('a view-only member sees no write controls on any page and is refused by the server too', async (t) => {
  const it = await world(t);
  const guest = await newUser(it.server.base);
  await it.user.api.want(201, 'POST', `${it.org.scope}/team`, { username: guest.username, role: 'View-only' });
  const page = await openWindow(it.browser, it.server.base);
  await signIn(page, guest);
  for (const path of parts(it).filter((path) => !path.startsWith('/sandbox') && !path.endsWith('/delete'))) {
    await page.goto(path);
    const forms = await page.locator('main form[method=post]').count();
    assert.equal(forms, 0, `forms that write on ${path}`);
  }
  const csrf = await page.locator('form[action="/sign-out"] [name=csrf]').inputValue();
  const org = `/orgs/${it.org.slug}`;
  const product = `/products/${it.products[0].slug}`;
  const writes = [
    [`${org}/products`, { name: 'Mine' }],
    [`${org}/team`, { kind: 'person', username: guest.username, role: 'Administrator' }],
    [`${org}/secrets`, { name: 'MINE', value: 'x' }],
    [`${org}/settings`, { name: 'Mine', plan: 'basic' }],
    [`${product}/devices`, { ids: '0123456789abcdef01234567' }],
    [`${product}/delete`, { name: it.products[0].name }],
    [`${product}/events`, { name: 'mine' }],
  ];
  for (const [path, form] of writes) {
    const answer = await page.request.post(it.server.base + path, { form: { csrf, ...form }, maxRedirects: 0 });
    assert.equal(answer.status(), 403, path);
  }
  const { organization } = await it.user.api.want(200, 'GET', it.org.scope);
  assert.equal(organization.name, it.org.name);
});

test('a stranger finds no page of an organization, a product or an integration', async (t) => {
  const it = await world(t);
  const shared = await shareWebhook(it, it.receiver);
  const page = await openWindow(it.browser, it.server.base);
  await signIn(page, await newUser(it.server.base));
  const own = `/orgs/${it.org.slug}/integrations`;
  for (const path of [...parts(it).filter((path) => !path.startsWith('/sandbox')), own, `${own}/${shared.id}`, `${own}/${shared.id}/versions`, `${own}/${shared.id}/redelivery`]) {
    assert.equal((await page.goto(path)).status(), 404, path);
  }
});

test('devices are added, changed and removed in a product, and claimed in the sandbox', async (t) => {
  const { page, user, products: [product] } = await world(t);
  const ids = ['0123456789abcdef01234567', '89abcdef0123456789abcdef'];
  await page.goto(`/products/${product.slug}/devices`);
  await page.getByLabel('Device ids, one a line').fill(['no id', ...ids].join('\n'));
  await page.getByRole('button', { name: 'Add them' }).click();
  await row(page, ids[0]).waitFor();
  await row(page, ids[0]).getByText('Change').click();
  await row(page, ids[0]).getByLabel('Name').fill('roof');
  await row(page, ids[0]).getByRole('button', { name: 'Save' }).click();
  await row(page, 'roof').waitFor();
  await page.getByRole('searchbox', { name: 'Search devices' }).fill('roof');
  await page.getByRole('button', { name: 'Search' }).click();
  await row(page, 'roof').waitFor();
  assert.equal(await row(page, ids[1]).count(), 0);
  await page.goto(`/products/${product.slug}/devices`);
  await row(page, ids[1]).getByText('Change').click();
  await row(page, ids[1]).getByRole('button', { name: 'Remove from the product' }).click();
  await eventually(async () => {
    const { devices } = await user.api.want(200, 'GET', `${product.scope}/devices`);
    assert.deepEqual(devices.map(({ id, name }) => [id, name]), [[ids[0], 'roof']]);
  }, { within: 5_000, every: 100 });
  await page.goto('/sandbox/devices');
  await page.getByLabel('Device id', { exact: true }).fill(ids[1]);
  await page.getByRole('button', { name: 'Claim it' }).click();
  await row(page, ids[1]).waitFor();
  assert.deepEqual(page.faults, []);
});

test('a secret is stored and used, its value is nowhere, and it cannot be deleted while it is used', async (t) => {
  const it = await world(t);
  const value = `value-${unique()}`;
  const { page } = it;
  await page.goto(`/orgs/${it.org.slug}/secrets`);
  await page.getByLabel('Name', { exact: true }).fill('API_KEY');
  await page.getByLabel('Value', { exact: true }).fill(value);
  await page.getByRole('button', { name: 'Store it' }).click();
  await row(page, 'API_KEY').waitFor();
  const shared = await shareWebhook(it, it.receiver, undefined, { headers: { 'X-Api-Key': '{{{API_KEY}}}' } });
  await it.user.api.want(200, 'POST', `${it.products[0].scope}/events`, { name: shared.event, data: '{"id":1}' });
  const [request] = await it.receiver.waitFor(shared.path);
  assert.equal(request.headers['x-api-key'], value);
  await page.reload();
  await row(page, 'API_KEY').getByRole('link', { name: shared.event, exact: false }).waitFor();
  await row(page, 'API_KEY').getByText('Change', { exact: false }).last().click();
  await row(page, 'API_KEY').getByRole('button', { name: 'Delete' }).click();
  await page.getByRole('alert').getByText('used', { exact: false }).first().waitFor();
  await it.user.api.want(200, 'GET', `${it.org.scope}/secrets/API_KEY`);
  for (const path of [...parts(it), `/orgs/${it.org.slug}/integrations/${shared.id}`]) {
    await page.goto(path);
    assert.doesNotMatch(await page.content(), new RegExp(value), path);
  }
});

test('people are invited by a link, get roles, and API users get a token that is shown once', async (t) => {
  const it = await world(t);
  const { page } = it;
  const team = `/orgs/${it.org.slug}/team`;
  const username = `someone-${unique()}@example.com`;
  await page.goto(team);
  await page.getByLabel('User name').fill(username);
  await page.getByRole('button', { name: 'Add', exact: true }).first().click();
  const link = (await page.locator('#told').textContent()).trim();
  assert.match(link, /\/invitations\/[\w-]+$/);

  const invited = await openWindow(it.browser, it.server.base);
  await invited.goto(new URL(link).pathname);
  await invited.getByLabel('Password').fill('a long enough password');
  await invited.getByRole('button').filter({ hasText: /join|create|accept/i }).first().click();
  await invited.waitForURL((url) => url.pathname.startsWith(`/orgs/${it.org.slug}`));
  await page.goto(team);
  await row(page, username).getByText('Developer').first().waitFor();
  await row(page, username).getByText('Change').first().click();
  await row(page, username).getByLabel('Role').selectOption('Support');
  await row(page, username).getByRole('button', { name: 'Save' }).click();
  await eventually(async () => {
    const { team: people } = await it.user.api.want(200, 'GET', `${it.org.scope}/team`);
    assert.equal(people.find((one) => one.username === username).role.name, 'Support');
  }, { within: 5_000, every: 100 });
  assert.deepEqual([page.faults, invited.faults], [[], []]);
});

test('what was changed is in the versions and in the audit, and an older version is restored', async (t) => {
  const it = await world(t);
  const shared = await shareWebhook(it, it.receiver);
  const { page } = it;
  const own = `/orgs/${it.org.slug}/integrations/${shared.id}`;
  await page.goto(`${own}/edit`);
  await page.getByLabel('Address').fill(it.receiver.url('/second'));
  await page.getByRole('button', { name: 'Save', exact: true }).last().click();
  await page.getByRole('link', { name: 'version 2' }).click();
  await page.getByText('changed it', { exact: false }).click();
  await page.locator('details[open]').getByText(it.receiver.url('/second')).waitFor();
  await page.locator('details.log').last().click();
  await page.getByRole('link', { name: 'Go back to version 1' }).click();
  await page.getByRole('heading', { name: 'url' }).waitFor();
  await page.getByRole('button', { name: 'Go back to version 1' }).click();
  await page.getByText('Restored.', { exact: false }).waitFor();
  await it.user.api.want(200, 'POST', `${it.products[2].scope}/events`, { name: shared.event, data: '{"id":1}' });
  await it.receiver.waitFor(shared.path);
  assert.equal(it.receiver.at('/second').length, 0);
  await page.goto(`/orgs/${it.org.slug}/audit`);
  const lines = await page.locator('details.log summary').allTextContents();
  assert.ok(lines.some((line) => /integration restore/.test(line)), lines.join('\n'));
  assert.ok(lines.every((line) => !line.includes('undefined')));
  assert.deepEqual(page.faults, []);
});

test('one product uses its own value of a parameter and follows every other change', async (t) => {
  const it = await world(t);
  const shared = await shareWebhook(it, it.receiver, undefined, { parameters: { SITE: 'eu' }, json: { site: '{{{SITE}}}' } });
  const { page } = it;
  const card = page.locator('.card').filter({ has: page.getByRole('button', { name: `Save for ${it.products[1].name}` }) });
  await page.goto(`/orgs/${it.org.slug}/integrations/${shared.id}`);
  await card.getByLabel('SITE').fill('us');
  await card.getByRole('button').click();
  await page.getByText('This product uses its own values').waitFor();
  await page.getByRole('link', { name: 'Edit', exact: true }).click();
  await page.getByLabel('Address').fill(it.receiver.url('/moved'));
  await page.getByRole('button', { name: 'Save', exact: true }).last().click();
  await page.getByText('Saved for all products').waitFor();
  for (const product of it.products) await it.user.api.want(200, 'POST', `${product.scope}/events`, { name: shared.event, data: 'x' });
  const got = await it.receiver.waitFor('/moved', 3);
  assert.deepEqual(got.map(({ text }) => JSON.parse(text).site).sort(), ['eu', 'eu', 'us']);
  await card.getByLabel('SITE').fill('');
  await card.getByRole('button').click();
  await page.getByText('This product uses its own values').waitFor();
  await it.user.api.want(200, 'POST', `${it.products[1].scope}/events`, { name: shared.event, data: 'x' });
  const [, , , last] = await it.receiver.waitFor('/moved', 4);
  assert.equal(JSON.parse(last.text).site, 'eu');
  assert.deepEqual(page.faults, []);
});

test('the password is changed with the present one alone, and signing out everywhere ends every sign-in', async (t) => {
  const { page, user, browser, server } = await world(t);
  const other = await openWindow(browser, server.base);
  await signIn(other, user);
  await page.goto('/sandbox/settings');
  await page.getByLabel('Present password').fill('not mine at all');
  await page.getByLabel('New password').fill('another long password');
  await page.getByRole('button', { name: 'Change the password' }).click();
  await page.locator('#wrong-current').getByText(/./).waitFor();
  await page.getByLabel('Present password').fill(user.password);
  await page.getByLabel('New password').fill('another long password');
  await page.getByRole('button', { name: 'Change the password' }).click();
  await page.waitForURL(/done=password/);
  await signIn(other, { ...user, password: 'another long password' });
  await page.getByRole('button', { name: 'Sign out everywhere' }).click();
  await page.waitForURL(/sign-in/);
  await other.goto('/sandbox/integrations');
  assert.match(other.url(), /sign-in/);
});
