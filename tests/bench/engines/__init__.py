"""`make bench-engines`: W100 into sandboxes that run already, by netapply, `ip`, CNI plugins, Docker and Podman."""
