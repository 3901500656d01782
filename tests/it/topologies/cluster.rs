//! Redis as a Cluster of six.
