//! One credential's life: its material, the pure core that decides, and the actor around it.

mod lifecycle;
mod material;
mod schedule;
#[cfg(test)]
mod tests;

pub use material::{Life, Material};
