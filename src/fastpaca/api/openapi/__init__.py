"""
What the API says of itself: the OpenAPI document, and a page that shows it.

`openapi.yaml` is where you change it; its first lines say what is generated from code.
"""
