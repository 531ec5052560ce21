//! Other crates that let requests through by their tokens, each as its documentation says, around
//! or inside a router with one route. Keys come from the issuer over HTTP, before anything is
//! measured; signature, `iss`, `aud` and `exp` are checked.

pub mod jwks;
pub mod jwt_auth;
pub mod jwt_authorizer;
pub mod keycloak;
pub mod oauth2_resource_server;
