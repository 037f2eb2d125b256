//! Headers for tests.
