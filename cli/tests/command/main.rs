// SPDX-License-Identifier: Apache-2.0
//! `ocilayer` as a user runs it: statuses, what is printed where, signals.

mod audit;
mod check;
mod common;
mod image_or_layer;
mod images;
mod scan;
mod unpack;
mod unread;
