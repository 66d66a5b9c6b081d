// What failed and what waits, found and delivered again through the console.
import assert from 'node:assert/strict';
import test from 'node:test';
import { openBrowser, openWindow, scrollsSideways, seriousFaults, signIn } from '../lib/browser.mjs';
import { Receiver } from '../lib/receiver.mjs';
import { LOOPBACK, Server } from '../lib/server.mjs';
import { newUser, shareWebhook, threeProducts } from '../lib/world.mjs';
import { eventually } from '../lib/wait.mjs';

const [ONE, OTHER] = ['0123456789abcdef01234567', '89abcdef0123456789abcdef'];

async function world(t, env = {}) {
  const server = await Server.start(t, { ...LOOPBACK, ...env });
  const receiver = await Receiver.start(t);
  const browser = await openBrowser(t);
  const it = await threeProducts(server.base);
  const page = await openWindow(browser, server.base);
  await signIn(page, it.user);
  return { server, receiver, browser, page, list: `/orgs/${it.org.slug}/integrations`, failed: `/orgs/${it.org.slug}/failed`, ...it };
}

const rows = (page) => page.locator('#failed-rows tr');

/** Two integrations: one refused with 404, one that finds nobody. */
async function failures(it) {
  let broken = true;
  const refused = await shareWebhook(it, it.receiver, () => ({ status: broken ? 404 : 200 }), { name: 'Refused' });
  const lost = await shareWebhook(it, it.receiver, undefined, { name: 'Lost', url: it.receiver.on('/reset', 'reset'), retry: { delays: [] } });
  const [product, second] = it.products;
  await it.user.api.want(200, 'POST', `${product.scope}/events`, { name: `${refused.event}/a`, data: '{"id":1}' });
  await it.user.api.want(200, 'POST', `${second.scope}/events`, { name: `${refused.event}/b`, data: '{"id":2}' });
  await it.user.api.want(200, 'POST', `${second.scope}/events`, { name: lost.event, data: '{"id":3}' });
  await eventually(async () => {
    await it.page.goto(it.failed);
    assert.equal(await rows(it.page).count(), 3);
  }, { within: 15_000, every: 200 });
  return { refused, lost, mend: () => { broken = false; } };
}

test('failed deliveries are narrowed by filters that are in the address, and the ticked ones are delivered again', async (t) => {
  const it = await world(t);
  const { refused, mend } = await failures(it);
  const { page } = it;
  const narrowed = (act, address, count) => Promise.all([page.waitForURL(address), act()]).then(() => eventually(async () => assert.equal(await rows(page).count(), count), { within: 5_000, every: 50 }));
  await narrowed(() => page.getByLabel('Reply').selectOption('4'), /status=4/, 2);
  await narrowed(() => page.getByLabel('Event begins with').fill(`${refused.event}/b`), /event=/, 1);
  await page.reload();
  assert.equal(await rows(page).count(), 1, 'the address has the filters');
  await page.goBack();
  await page.getByRole('heading', { name: 'Failed deliveries' }).waitFor();
  for (const [filter, count] of [['status=none', 1], ['outcome=skipped', 0], ['outcome=error', 3], ['text=404', 2], [`product=${it.products[0].slug}`, 1],
    [`integration=${refused.id}`, 2], ['from=2020-01-01T00:00', 3], ['to=2020-01-01T00:00', 0], ['device=nobody', 0], ["text=%27%25", 0]]) {
    await page.goto(`${it.failed}?${filter}`);
    assert.equal(await rows(page).count(), count, filter);
  }
  assert.equal((await page.goto(`${it.failed}?from=never&status=9`)).status(), 200);
  await page.getByRole('alert').getByText('must be a time').waitFor();

  mend();
  await page.goto(`${it.failed}?integration=${refused.id}`);
  await page.getByRole('button', { name: 'Deliver the ticked ones again' }).click();
  await page.getByRole('alert').getByText('tick at least one', { exact: false }).waitFor();
  await rows(page).first().getByRole('checkbox').check();
  await page.getByRole('button', { name: 'Deliver the ticked ones again' }).click();
  await page.getByText('1 delivery is being delivered again').waitFor();
  await it.receiver.waitFor(refused.path, 3);
  await eventually(async () => {
    await page.goto(`${it.failed}?integration=${refused.id}`);
    assert.equal(await rows(page).count(), 1, 'what has succeeded is gone');
  }, { within: 10_000, every: 200 });
  assert.deepEqual(page.faults, []);
});

test('what waits between two attempts is shown with the attempt and when it is due, and counted in no outcome', async (t) => {
  const it = await world(t, { TRIBUTARY_DELIVERY__RETRY_DELAYS: '600s' });
  const shared = await shareWebhook(it, it.receiver, { status: 500 }, { name: 'Slow' });
  await it.user.api.want(200, 'POST', `${it.products[1].scope}/events`, { name: shared.event, data: '{"id":"waits"}' });
  await it.receiver.waitFor(shared.path);
  await eventually(async () => {
    await it.page.goto(`${it.list}/${shared.id}`);
    await it.page.getByText('attempt 2').waitFor({ timeout: 500 });
  }, { within: 10_000, every: 100 });
  await it.page.getByText('1 waiting').first().waitFor();
  await it.page.locator('#waits').getByText(/in \d+ min/).waitFor();
  await it.page.locator('#waits').getByText(it.products[1].name).waitFor();
  await it.page.getByText('0 error').first().waitFor();
  assert.deepEqual(await seriousFaults(it.page), []);
  await it.page.goto(it.list);
  await it.page.getByText('1 waiting').waitFor();
  await it.page.goto(`/products/${it.products[0].slug}/integrations`);
  assert.equal(await it.page.getByText('1 waiting').count(), 0, 'another product has none');
});

test('failed deliveries are fit for every window and reader, and are nobody else\'s', async (t) => {
  const it = await world(t);
  await failures(it);
  const paths = [it.failed, `/products/${it.products[1].slug}/failed`, '/sandbox/failed'];
  for (const [colorScheme, width] of [['light', 1280], ['dark', 1024], ['light', 360]]) {
    const page = await openWindow(it.browser, it.server.base, { colorScheme, viewport: { width, height: 800 } });
    await signIn(page, it.user);
    for (const path of paths) {
      assert.equal((await page.goto(path)).status(), 200);
      await page.waitForLoadState('load');
      assert.deepEqual(await seriousFaults(page), [], `${path} ${colorScheme} ${width}`);
      assert.equal(await scrollsSideways(page), false, `${path} at ${width}`);
      if (process.env.SHOTS) await page.screenshot({ path: `${process.env.SHOTS}/failed-${width}-${paths.indexOf(path)}.png`, fullPage: true });
    }
    assert.equal(await rows(page).count(), 0, 'a sandbox has none of them');
    await page.context().close();
  }
  const plain = await openWindow(it.browser, it.server.base, { javaScriptEnabled: false });
  await signIn(plain, it.user);
  await plain.goto(it.failed);
  await rows(plain).first().getByRole('checkbox').check();
  const kept = await rows(plain).first().getByRole('checkbox').inputValue();
  await plain.getByRole('button', { name: 'Deliver the ticked ones again' }).click();
  await plain.getByText('1 delivery is being delivered again').waitFor();

  const guest = await newUser(it.server.base);
  await it.user.api.want(201, 'POST', `${it.org.scope}/team`, { username: guest.username, role: 'View-only' });
  const stranger = await newUser(it.server.base);
  for (const [who, get, post] of [[guest, 200, 403], [stranger, 404, 404]]) {
    const page = await openWindow(it.browser, it.server.base);
    await signIn(page, who);
    assert.equal((await page.goto(it.failed)).status(), get);
    if (get === 200) assert.equal(await page.locator('main form[method=post] button').count(), 0);
    await page.goto('/sandbox/failed');
    const csrf = await page.locator('form[action="/sign-out"] [name=csrf]').inputValue();
    assert.equal((await page.request.post(it.server.base + it.failed, { form: { csrf, kept } })).status(), post);
    const own = await page.request.post(`${it.server.base}/sandbox/failed`, { form: { csrf, kept }, maxRedirects: 0 });
    assert.ok(!own.headers().location?.includes('done=1'), 'a row of another owner is not delivered');
  }
});
