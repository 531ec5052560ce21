//! gRPC: who is answered in it, and how.
