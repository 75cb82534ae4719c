//! When something is in force: days of the week and times of day, local time.
