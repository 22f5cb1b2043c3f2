"""Tests of real gunicorn, real sockets, real signals."""
