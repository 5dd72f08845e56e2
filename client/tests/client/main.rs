//! The client against a server that answers by script: every order of answers, refusals and losses can be had.

mod publisher;
mod scripted;
mod subscription;
