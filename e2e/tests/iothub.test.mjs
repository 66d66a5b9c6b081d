// The kind AzureIotHub against a hub that checks signatures as Microsoft documents them; these are compared with those of Microsoft's
// own library, which also finds its way around that hub.
import assert from 'node:assert/strict';
import test from 'node:test';
import { AFTER_OUTAGE_MS, WITH_OUTAGE_MS, allArrived, failsWith, outage, scene } from '../lib/broker.mjs';
import { HOST, IotHub, readSignature, skip } from '../lib/iothub.mjs';
import { eventually } from '../lib/wait.mjs';

const config = (hub, policy = 'iothubowner', key = hub.policies[policy].key) => ({ integration_type: 'AzureIotHub', hub_name: 'my-hub', policy_name: policy, policy_key: key });
const numbers = (hub) => () => hub.messages.map(({ body }) => JSON.parse(body.data).n);
/** Ids of devices as Particle's are. */
const ids = (count) => Array.from({ length: count }, (_, n) => `e00fce68d3c2a1b0e00fce${(n + 16).toString(16)}`);

/** A server whose product has these devices, and what lets an event come from them in turn. */
async function withDevices(t, hub, devices) {
  const world = await scene(t, hub.env);
  for (const id of devices) await world.user.api.want(200, 'POST', `${world.product.scope}/devices`, { id });
  return { ...world, from: (n) => ({ as_device_id: devices[n % devices.length] }) };
}

test('ten thousand events of several devices arrive and are counted, also when the hub is away for a while', { timeout: WITH_OUTAGE_MS, skip }, async (t) => {
  const hub = await IotHub.start(t);
  const devices = ids(8);
  const world = await withDevices(t, hub, devices);
  const integration = await world.share(config(hub));
  await world.publish(integration.event, 0, 5_000, undefined, world.from);
  await hub.gate.close();
  await world.publish(integration.event, 5_000, 10_000, undefined, world.from);
  await outage();
  await hub.gate.open();
  await allArrived(world, integration, 10_000, numbers(hub), AFTER_OUTAGE_MS);
  for (const { device, body } of hub.messages) {
    assert.deepEqual([device, body.device_id], Array(2).fill(devices[JSON.parse(body.data).n % devices.length]));
    assert.equal(body.event, integration.event);
  }
  assert.equal(new Set(hub.messages.map(({ id }) => id)).size, 10_000, 'each event has an id, by which a message that comes twice is known');
  assert.deepEqual(hub.created.toSorted(), devices, 'each device is created once');
  assert.ok(hub.conflicts < 500, `${hub.conflicts} were too late: only those try that were under way with the first`);
  assert.equal(hub.signatures.size, 1, 'a signature is used again');
});

test("signatures are those of Microsoft's library, which sees the devices that are made and makes some itself", { timeout: 60_000, skip }, async (t) => {
  const hub = await IotHub.start(t);
  const [ours, theirs] = ids(2);
  const world = await withDevices(t, hub, [ours, theirs]);
  const integration = await world.share(config(hub));
  assert.deepEqual(await hub.registry('create', theirs), { status: 200, device: { id: theirs, status: 'enabled' } });
  assert.equal((await hub.registry('get', ours)).status, 404);
  hub.signatures.clear();
  await world.publish(integration.event, 0, 20, undefined, world.from);
  await allArrived(world, integration, 20, numbers(hub));
  const [header] = hub.signatures;
  const expires = Number(readSignature(header).se);
  assert.ok(expires > Date.now() / 1_000 + 3_000 && expires <= Date.now() / 1_000 + 3_600, `${expires}`);
  const same = IotHub.sign('iothubowner', hub.policies.iothubowner.key, expires);
  // Theirs leaves a `/` in the signature as it is; in the value of a parameter that means the same.
  assert.deepEqual(readSignature(header), readSignature(same));
  assert.equal(readSignature(same).sr, HOST);
  assert.deepEqual(await hub.registry('get', ours), { status: 200, device: { id: ours, status: 'enabled' } });
  assert.equal((await hub.registry('create', ours)).status, 409);
  assert.deepEqual(hub.created, [theirs, ours], 'a device that the hub knows is not created');
  const old = IotHub.sign('iothubowner', hub.policies.iothubowner.key, Math.floor(Date.now() / 1_000) - 1);
  for (const [authorization, status] of [[same, 200], [old, 401], [same.replace('sig=', 'sig=A'), 401]]) {
    const answer = await fetch(`${hub.url}/devices/${ours}?api-version=2021-04-12`, { headers: { authorization } });
    assert.equal(answer.status, status);
  }
});

test('what the hub refuses is told clearly, and the key is shown nowhere', { timeout: 60_000, skip }, async (t) => {
  const hub = await IotHub.start(t);
  const world = await scene(t, hub.env);
  const wrong = Buffer.from('the key of another policy').toString('base64');
  for (const [change, text] of [
    [config(hub, 'iothubowner', wrong), /^error status 401 from 127\.0\.0\.1: ErrorCode:IotHubUnauthorizedAccess;the signature is wrong$/],
    [config(hub, 'service'), /^error status 403 from 127\.0\.0\.1: ErrorCode:IotHubForbidden;/],
    [config(hub, 'device'), /^error status 403 from 127\.0\.0\.1: ErrorCode:IotHubForbidden;.* \(while creating the device in the hub\)$/],
  ]) {
    await failsWith(world, await world.share(change), text, change.policy_key);
  }
  assert.equal(hub.created.length, 0);
  const refused = await world.user.api.req('POST', `${world.org.scope}/integrations`, { json: { ...config(hub, 'service', 'k3y!'), event: 'x', product_ids: [world.product.id] } });
  assert.equal(refused.status, 400, refused.text);
  assert.ok(refused.text.includes('policy_key') && !refused.text.includes('k3y!'), refused.text);
});

test('what is throttled comes later, a device that is gone is made again, and the test button', { timeout: 60_000, skip }, async (t) => {
  const hub = await IotHub.start(t);
  const world = await scene(t, hub.env);
  const integration = await world.share(config(hub));
  hub.fail([429, 'ThrottlingException', 'too many'], [503, 'ServiceUnavailable', 'not now'], [500, 'ServerError', 'oh']);
  await world.publish(integration.event, 0, 10);
  await allArrived(world, integration, 10, numbers(hub));
  const { user, org } = world;
  const tested = await user.api.want(200, 'POST', `${org.scope}/integrations/${integration.id}/test`, {});
  assert.equal(tested.pass, true, JSON.stringify(tested));
  // The one that finds it gone fails, as the hub says; the next one makes it.
  hub.devices.clear();
  for (const [n, expected] of [{ success: 10, error: 1 }, { success: 11, error: 1 }].entries()) {
    await world.publish(integration.event, 10 + n, 11 + n);
    await eventually(async () => assert.deepEqual((await user.api.history(org.scope, integration.id)).total, { ...expected, skipped: 0 }));
  }
  const seen = await user.api.integration(org.scope, integration.id);
  assert.match(JSON.stringify(seen.logs), /error status 404 from 127\.0\.0\.1: ErrorCode:DeviceNotFound/);
  assert.deepEqual(hub.created, ['api', 'api']);
  for (const text of [JSON.stringify([integration, seen, tested]), world.server.log()]) assert.ok(!text.includes(hub.policies.iothubowner.key));
});
