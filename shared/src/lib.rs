//! The vocabulary that coordinator and worker share.
