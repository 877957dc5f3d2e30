// An authorization server that is not ours: oidc-provider, on a free port of loopback, with one
// public client and two confidential ones. The tests in tests/interop start it.
//
//     node server.mjs FOLDER [HIDDEN]
//
// FOLDER is where the package is installed (package.json beside this file). HIDDEN is a path that is
// answered with 404. On the standard output stands where it listens, then a line for each request.
// It ends when its standard input does, so that it never outlives whoever started it.

import { createServer } from 'node:http';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

const [folder, hidden] = process.argv.slice(2);
const installed = join(folder, 'node_modules', 'oidc-provider');
const { main, exports } = JSON.parse(await readFile(join(installed, 'package.json'), 'utf8'));
const entry = main ?? exports?.['.']?.default ?? exports?.default ?? exports;
const { default: Provider } = await import(pathToFileURL(join(installed, entry)).href);

const tell = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);

const desktop = {
  client_id: 'desktop',
  application_type: 'native',
  token_endpoint_auth_method: 'none',
  redirect_uris: ['http://127.0.0.1/callback'],
  response_types: ['code'],
  grant_types: [
    'authorization_code',
    'refresh_token',
    'urn:ietf:params:oauth:grant-type:device_code',
  ],
};

// Identifier and secret hold what has to be encoded before it is joined (RFC 6749 section 2.3.1).
const machine = (id, method) => ({
  client_id: id,
  client_secret: 's p+a%c:e/&=~ of 32 characters or more',
  token_endpoint_auth_method: method,
  redirect_uris: [],
  response_types: [],
  grant_types: ['client_credentials'],
});

const configuration = {
  clients: [
    desktop,
    machine('machine:basic', 'client_secret_basic'),
    machine('machine:post', 'client_secret_post'),
  ],
  cookies: { keys: ['signs the cookies of a test'] },
  features: {
    clientCredentials: { enabled: true },
    deviceFlow: { enabled: true },
    introspection: { enabled: true },
    revocation: { enabled: true },
  },
  rotateRefreshToken: true,
  scopes: ['openid', 'offline_access', 'calendar'],
  ttl: { AccessToken: 3600, ClientCredentials: 3600, DeviceCode: 600, RefreshToken: 86400 },
};

const server = createServer();
server.listen(0, '127.0.0.1', () => {
  const issuer = `http://127.0.0.1:${server.address().port}`;
  const provider = new Provider(issuer, configuration);
  provider.use(async (context, next) => {
    await next();
    tell({
      request: `${context.method} ${context.path}`,
      grant: context.oidc?.params?.grant_type,
      status: context.status,
      error: context.body?.error,
    });
  });
  const answer = provider.callback();
  server.on('request', (request, response) => {
    if (request.url === hidden) {
      response.writeHead(404).end();
    } else {
      answer(request, response);
    }
  });
  tell({ issuer });
});

process.stdin.resume();
process.stdin.on('end', () => process.exit(0));
