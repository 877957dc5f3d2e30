//! The README and the guides as documentation tests, so that what they show compiles and runs.

#[doc = include_str!("../README.md")]
struct Readme;

#[doc = include_str!("../docs/getting-started.md")]
struct GettingStarted;

#[doc = include_str!("../docs/embedding.md")]
struct Embedding;

#[doc = include_str!("../docs/messages.md")]
struct Messages;

#[doc = include_str!("../docs/providers.md")]
struct Providers;

#[doc = include_str!("../docs/vault-and-keys.md")]
struct VaultAndKeys;

#[doc = include_str!("../docs/testing.md")]
struct Testing;

#[doc = include_str!("../docs/services.md")]
struct Services;

#[doc = include_str!("../docs/security-model.md")]
struct SecurityModel;

#[doc = include_str!("../docs/configuration.md")]
struct Configuration;

#[cfg(feature = "server")]
#[doc = include_str!("../docs/server.md")]
struct Server;

#[cfg(feature = "server")]
#[doc = include_str!("../docs/operating-the-server.md")]
struct OperatingTheServer;

#[doc = include_str!("../docs/operations.md")]
struct Operations;

#[doc = include_str!("../docs/http.md")]
struct Http;

#[doc = include_str!("../docs/reliability.md")]
struct Reliability;

#[doc = include_str!("../docs/performance.md")]
struct Performance;
