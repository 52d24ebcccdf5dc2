"""The hosted systems: one engine that interprets one definition per system.

``definition`` says what a system is · ``definitions`` holds the systems · ``seeding`` gives birth to their rows ·
``placement`` knows where each is active · ``http`` speaks HTTP/1.1 · ``store`` reads and writes rows ·
``neighbours`` calls other systems · ``breaker`` refuses writes that no copy would confirm · ``service`` answers
citizens · ``process`` forks one service per system.
"""
