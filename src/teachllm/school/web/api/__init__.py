"""What the page's scripts ask for. Each module is one subject; all answers are JSON or event streams."""

from __future__ import annotations

from fastapi import APIRouter

router = APIRouter()
