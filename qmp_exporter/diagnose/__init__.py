"""A monitor, or a configuration of many -> what is wrong with it and how that is fixed, in words for a person."""
