// The people, organizations and products that a test needs, made with the public client where it has a call for it.
import { randomBytes } from 'node:crypto';
import Particle from 'particle-api-js';
import { Api } from './api.mjs';

export const unique = () => randomBytes(6).toString('hex');

/** Signs up and logs in: `{username, password, token, js (public client), api}`. */
export async function newUser(base) {
  const anonymous = new Particle({ baseUrl: base });
  const username = `someone-${unique()}@example.com`;
  const password = `Pw-${unique()}`;
  await anonymous.createUser({ username, password });
  const { body } = await anonymous.login({ username, password });
  const token = body.access_token;
  return { username, password, token, js: new Particle({ baseUrl: base, auth: token }), api: new Api(base, token) };
}

/** An organization: `{id, slug, …, scope}` where scope is the start of its paths. */
export async function newOrg(user, plan = 'enterprise') {
  const { organization } = await user.api.want(201, 'POST', '/v1/orgs', { name: `Org ${unique()}`, plan });
  return { ...organization, scope: `/v1/orgs/${organization.id}` };
}

/** A product of the organization: `{id, slug, …, scope}`. */
export async function newProduct(user, org) {
  const body = { product: { name: `Product ${unique()}` } };
  const { product } = await user.api.want(201, 'POST', `${org.scope}/products`, body);
  return { ...product, scope: `/v1/products/${product.id}` };
}

/** A user with an organization of three products. */
export async function threeProducts(base) {
  const user = await newUser(base);
  const org = await newOrg(user);
  const products = [await newProduct(user, org), await newProduct(user, org), await newProduct(user, org)];
  return { user, org, products };
}

/**
 * One webhook shared by the products. Its deliveries carry the id of the reading and the product.
 * `change` replaces fields of the configuration. Gives `{id, event, config, path, memberOf(product)}`.
 */
export async function shareWebhook({ user, org, products }, receiver, answer, change = {}) {
  const event = `reading-${unique()}`;
  const path = `/${event}`;
  const url = answer === undefined ? receiver.url(path) : receiver.on(path, answer);
  const config = { url, json: { id: '{{id}}', product: '{{PRODUCT_ID}}' }, noDefaults: true, ...change };
  const settings = { integration_type: 'Webhook', ...config, product_ids: products.map((p) => p.id) };
  const { body } = await user.js.createIntegration({ event, settings, org: org.id });
  const members = new Map(body.products.map((p) => [p.id, p.integration_id]));
  return { id: body.id, event, config: { event, ...config }, path, memberOf: (product) => members.get(product.id) };
}
