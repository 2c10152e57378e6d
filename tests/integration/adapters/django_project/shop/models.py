"""What the tasks write."""

from __future__ import annotations

from django.db import models


class Sale(models.Model):
    """Something was sold."""

    what = models.TextField()

    def __str__(self) -> str:
        return self.what
