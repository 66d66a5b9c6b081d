// What is configured, in a form that can be compared: which integrations there are and on which products they run. Each
// change of the crash harness is described here as what it makes of a shape, so that after a kill in the middle of it
// the shape must be the one before or the one after, and nothing else.

/** The shape of a list of integrations as an organization sees it. */
export function shapeOf(integrations) {
  return integrations.map((one) => ({
    id: one.id,
    name: one.name,
    path: new URL(one.url).pathname,
    products: [...one.product_ids].sort((a, b) => a - b),
    members: new Map(one.products.map((product) => [product.id, product.integration_id])),
  }));
}

/** The shape as a text, ids left out: a new integration's id is known only to who was answered. */
export function text(shape) {
  return shape.map(({ name, path, products }) => `${path} "${name}" on ${products.join(',')}`).sort().join('\n');
}

const at = (shape, path) => shape.filter((one) => one.path === path);
const replaced = (shape, id, change) => shape.map((one) => (one.id === id ? { ...one, ...change } : one));

/**
 * A change that can be made to this shape, chosen by `random`: `{name, call: [method, path, body], after}`, where
 * `after` is the shape that it makes. `world` has `org` (its path), `shared`, `guest` and `temporary` (the
 * configurations), `visitor` (the product that comes and goes) and `host` (the one that stays).
 */
export function choose(shape, world, random, label) {
  const shared = at(shape, '/shared');
  const [guest] = at(shape, '/guest');
  const [temporary] = at(shape, '/temporary');
  const large = shared.find((one) => one.products.length > 1);
  const choices = [
    () => rename(shape, world, random.of(shared), `renamed ${label}`),
    () => visit(shape, world, guest),
    () => comeAndGo(shape, world, temporary, label),
    () => guestList(shape, world, guest),
  ];
  if (large) choices.push(() => separate(shape, world, large, random.of(large.products), `own ${label}`));
  if (shared.length > 1) choices.push(() => merge(shape, world, random.of(shared)));
  return random.of(choices)();
}

function rename(shape, world, one, name) {
  const body = { ...world.shared, name, product_ids: one.products };
  return {
    name: 'put',
    call: ['PUT', `${world.org}/integrations/${one.id}`, body],
    after: replaced(shape, one.id, { name }),
  };
}

function visit(shape, world, guest) {
  const there = guest.products.includes(world.visitor);
  const products = there ? [world.host] : [world.host, world.visitor].sort((a, b) => a - b);
  return {
    name: there ? 'remove product' : 'add product',
    call: [there ? 'DELETE' : 'PUT', `${world.org}/integrations/${guest.id}/products/${world.visitor}`],
    after: replaced(shape, guest.id, { products }),
  };
}

/** The same by a new list of products. */
function guestList(shape, world, guest) {
  const there = guest.products.includes(world.visitor);
  const products = there ? [world.host] : [world.host, world.visitor].sort((a, b) => a - b);
  const body = { ...world.guest, name: guest.name, product_ids: products };
  return {
    name: 'put products',
    call: ['PUT', `${world.org}/integrations/${guest.id}`, body],
    after: replaced(shape, guest.id, { products }),
  };
}

function comeAndGo(shape, world, temporary, label) {
  if (temporary) {
    return {
      name: 'delete',
      call: ['DELETE', `${world.org}/integrations/${temporary.id}`],
      after: shape.filter((one) => one !== temporary),
    };
  }
  const made = { name: `temporary ${label}`, path: '/temporary', products: [world.host] };
  const body = { ...world.temporary, name: made.name, product_ids: made.products };
  return { name: 'create', call: ['POST', `${world.org}/integrations`, body], after: [...shape, made] };
}

function separate(shape, world, one, product, name) {
  const rest = replaced(shape, one.id, { products: one.products.filter((other) => other !== product) });
  return {
    name: 'separate',
    call: ['POST', `/v1/products/${product}/integrations/${one.members.get(product)}/separate`, { ...world.shared, name }],
    after: [...rest, { name, path: '/shared', products: [product] }],
  };
}

function merge(shape, world, into) {
  const from = at(shape, '/shared').filter((one) => one !== into);
  const products = [into, ...from].flatMap((one) => one.products).sort((a, b) => a - b);
  return {
    name: 'merge',
    call: ['POST', `${world.org}/integrations/${into.id}/merge`, { from: from.map((one) => one.id) }],
    after: replaced(shape.filter((one) => !from.includes(one)), into.id, { products }),
  };
}
