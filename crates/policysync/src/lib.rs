//! Policy Sync: the update stream of [`tortie_calc`] to and from sidecars.
