//! tsp
