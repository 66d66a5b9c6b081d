// Signed requests, checked with the public verifier of Standard Webhooks.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Webhook } from 'standardwebhooks';
import { Server } from '../lib/server.mjs';
import { Receiver } from '../lib/receiver.mjs';
import { newUser, unique } from '../lib/world.mjs';

const MASK = '[[SENSITIVE]]';

test('requests are signed, one id over all attempts, and a changed secret overlaps with the old one', { timeout: 60_000 }, async (t) => {
  const server = await Server.start(t);
  const receiver = await Receiver.start(t);
  const { api } = await newUser(server.base);
  const event = `signed-${unique()}`;
  const path = `/${event}`;
  const url = receiver.on(path, (request, nth) => ({ status: nth === 1 ? 500 : 200 }));
  const config = { integration_type: 'Webhook', event, url, json: { value: '{{v}}' } };
  const publish = () => api.want(200, 'POST', '/v1/devices/events', { name: event, data: '{"v":"ü"}' });

  const made = await api.want(201, 'POST', '/v1/integrations', { ...config, signing: {} });
  const { secret } = made.signing;
  assert.match(secret, /^whsec_[A-Za-z0-9+/]{43}=$/, 'the answer to the creation tells the secret');
  const address = `/v1/integrations/${made.id}`;
  const shown = await api.want(200, 'GET', address);
  assert.deepEqual(shown.integration.signing, { secret: MASK }, 'and nothing after it does');

  await publish();
  const [first, again] = await receiver.waitFor(path, 2);
  for (const request of [first, again]) {
    assert.equal(new Webhook(secret).verify(request.text, request.headers).value, 'ü');
  }
  assert.equal(first.headers['webhook-id'], again.headers['webhook-id'], 'the attempts of one delivery have one id');
  assert.throws(() => new Webhook(secret).verify(`${first.text} `, first.headers));

  const { integration } = await api.want(200, 'PUT', address, { ...config, signing: { secret: 'generate' } });
  assert.notEqual(integration.signing.secret, secret);
  assert.equal(integration.signing.previous_secret, MASK);
  await publish();
  const [, , both] = await receiver.waitFor(path, 3);
  assert.notEqual(both.headers['webhook-id'], first.headers['webhook-id']);
  for (const either of [secret, integration.signing.secret]) new Webhook(either).verify(both.text, both.headers);

  await api.want(200, 'PUT', address, { ...config, signing: { secret: MASK } });
  await publish();
  const [, , , last] = await receiver.waitFor(path, 4);
  new Webhook(integration.signing.secret).verify(last.text, last.headers);
  assert.throws(() => new Webhook(secret).verify(last.text, last.headers), 'the old secret has gone');

  const refused = await api.want(400, 'PUT', address, { ...config, signing: { secret: 'whsec_short' } });
  assert.deepEqual(refused.errors.map((error) => error.field), ['signing.secret']);
});
