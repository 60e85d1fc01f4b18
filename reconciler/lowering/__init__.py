"""From settled networks to resources: `lower` has the drivers do it; the rest is what several drivers are made of."""
